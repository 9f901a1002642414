"""Functions that `workrs up`, the demo and the tests register, and the programs behind them."""
