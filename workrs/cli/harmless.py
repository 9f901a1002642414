"""What devices and programs wrote, as it may stand in an operator's terminal.

A reason ends with a program's last words, a note is whatever it likes, and a terminal obeys what
it is sent: colours, titles, in some cases commands. So no control character reaches one.
"""

from typing import Final

_KEPT: Final = "\n\t"
_SHOWN: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in _KEPT
}


def harmless(text: str) -> str:
    """Return *text* with control characters written out; lines and tabs stay."""
    return text.translate(_SHOWN)
