"""How a job goes stands on one line of any width; nobody's 0 % is taken for somebody's."""

import io

import pytest

from workrs.cli.progress import Step, shown_progress

NAME = "pump-7/0190b0c2-6d7a-7b3e-9a52-3b1f3d2c1a00"


class Screen(io.StringIO):
    """A terminal of some width."""

    def isatty(self) -> bool:
        return True


def drawn(width: int, monkeypatch: pytest.MonkeyPatch, progress: float | None) -> str:
    """Return what is left on the screen of a job that runs."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with shown_progress(NAME, screen) as show:
        show(
            Step(
                state="running",
                agent="a1",
                attempt=1,
                note=None,
                progress=progress,
                is_final=False,
            )
        )
    return screen.getvalue()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_state_has_room_beside_a_long_name(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    line = drawn(width, monkeypatch, 0.25)
    assert "running on a1" in line
    assert " 25 %" in line
    assert (NAME in line) == (width == 160)


def test_what_nobody_knows_is_no_0_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "%" not in drawn(80, monkeypatch, None)
    assert "  0 %" in drawn(80, monkeypatch, 0.0)
