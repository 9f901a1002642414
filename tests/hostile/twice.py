"""Every attack is played twice: at the control, and where the control has been taken away.

At the control it must fail, without it it must succeed; else the test could not fail, and would
show nothing. What takes a control away stands in tests alone: a line left out of a configuration,
a check replaced by one that checks nothing, a store that was opened without its limit. No program
has a switch for it.

`docs/security.md` names, for every control, the test and its second half, which is this id here.
"""

import pytest

WITHOUT = "without"
"""The end of the id of an attack's second half."""

played_twice = pytest.mark.parametrize("control", [True, False], ids=["as-it-is", WITHOUT])
"""Gives a test the keyword `control`: whether it is in force."""
