"""Parts of the screen. They draw what the model says, and decide nothing."""
