"""Goal: no program stands on the page of recipes that no test runs."""

import re
from pathlib import Path

from tests.recipes.recipe_page import PAGE, blocks

SOURCES = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


def test_every_block_is_named_but_the_settings() -> None:
    fences = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)
    assert len(fences) == len(blocks()) + 2
    assert "HOST=127.0.0.1 PORT=1883 DEVICE=pump-7\nexport HOST PORT DEVICE" in PAGE
    assert "CREDENTIAL=pump-7.pem DEVICE=pump-7\nexport CREDENTIAL DEVICE" in PAGE


def test_every_block_is_run() -> None:
    commands = [text for name, text in blocks().items() if "." not in name]
    for name in blocks():
        if "." in name:
            assert any(name in command for command in commands), f"no recipe uses {name}"
        else:
            assert f'block("{name}"' in SOURCES, f"no test runs {name}"
