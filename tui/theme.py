"""Our themes: calm by night, by day, and without any colour. Textual's own are there as well."""

from typing import Final

from textual.theme import BUILTIN_THEMES, Theme

NIGHT: Final = Theme(
    name="workrs-night",
    primary="#7aa2c8",
    secondary="#9d8cc4",
    accent="#e0b070",
    foreground="#d4d8de",
    background="#14171c",
    surface="#181c22",
    panel="#20252d",
    success="#86b58a",
    warning="#d9a75f",
    error="#e07a78",
    dark=True,
    variables={
        "scrollbar": "#2a313b",
        "scrollbar-background": "#14171c",
    },
)
DAY: Final = Theme(
    name="workrs-day",
    primary="#2b5f8a",
    secondary="#6a4f9c",
    accent="#8a5a00",
    foreground="#22262b",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e8e5de",
    success="#2f7038",
    warning="#8f5a00",
    error="#b3302c",
    dark=False,
)
PLAIN: Final = Theme(
    name="workrs-plain",
    primary="#d0d0d0",
    secondary="#d0d0d0",
    accent="#ffffff",
    foreground="#d0d0d0",
    background="#000000",
    surface="#000000",
    panel="#202020",
    success="#d0d0d0",
    warning="#ffffff",
    error="#ffffff",
    dark=True,
)
THEMES: Final = (NIGHT, DAY, PLAIN)


def known_themes() -> list[str]:
    """Return the names of all themes, ours first."""
    return [*(theme.name for theme in THEMES), *BUILTIN_THEMES]
