"""The operator's view: a model folded from what nodes say, and a terminal that shows it."""

import os

# Frames a second, read by Textual when it is imported. What a key changed is painted up to two
# frames after the last painting: at Textual's own 60 that wait alone was 33 ms. What does not
# change is not painted, so more frames cost nothing else.
os.environ.setdefault("TEXTUAL_FPS", "250")
