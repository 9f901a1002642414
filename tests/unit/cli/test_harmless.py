"""Goal: nothing that a device or a program wrote gives orders to an operator's terminal.

Method: each control character by itself, and a table with a reason that has some.
"""

import pytest

from workrs.cli.harmless import harmless
from workrs.cli.table import print_table


def test_every_control_character_is_written_out() -> None:
    for code in (*range(32), *range(127, 160)):
        shown = harmless(f"a{chr(code)}b")
        assert shown == (f"a{chr(code)}b" if chr(code) in "\n\t" else f"a\\x{code:02x}b")


def test_other_text_is_as_it_was() -> None:
    text = "exit code 3: naïve 温度 ▲ 100 %\n\tnext"
    assert harmless(text) == text


def test_a_reason_in_a_table_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("job", "reason"), [("pump-7/j1", "exit 3 \x1b[2J\x1b]0;owned\x07")], empty="none")
    told = capsys.readouterr().out
    assert not set(told) & {"\x1b", "\x07"}
    assert "\\x1b[2J" in told
