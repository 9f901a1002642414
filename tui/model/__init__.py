"""What is shown, without a screen: a pure fold over the messages of the bus and the time."""
