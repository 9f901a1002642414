"""Puts results into the page that shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

PAGE = Path("docs/paper-grid.md")
PICTURE = Path("docs/img/paper-grid.svg")
BEGIN = "<!-- results: written by bench.paper_grid --publish -->"
END = "<!-- end of results -->"


def publish(text: str, picture: Path) -> None:
    """Replace what stands between the page's marks by *text*, and its picture."""
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{text.strip()}\n{END}{tail}")
    shutil.copyfile(picture, PICTURE)
    shutil.copyfile(picture.with_suffix(".png"), PICTURE.with_suffix(".png"))
