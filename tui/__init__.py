"""The operator's view: a model folded from what nodes say, and a terminal that shows it."""
