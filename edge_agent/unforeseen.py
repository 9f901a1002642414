"""What is said of an error that nobody foresaw, where it must not end the agent.

Errors that are not of ours end an agent: its warden kills what runs, others take over, and
nothing goes on in a state that nobody thought of. Not so where only what devices and other
agents wrote is read, before anything runs: there one bad job would end one agent after another.
"""

import traceback
from pathlib import Path


def place_of(error: Exception) -> str:
    """Return the file and line that raised it, for those who make this program.

    Its text is left out: an address with a password may be in it.
    """
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
