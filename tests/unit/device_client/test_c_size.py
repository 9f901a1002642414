"""Goal: the C client fits the smallest of devices, and docs/c.md says how large it is.

Method: cross-compiled and linked for a Cortex-M0 without a C library; sizes are read from the
program, the deepest stack from the compiler's call graph.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.c_compiler import CLIENT, ROOT, SOURCES, STRICT

if TYPE_CHECKING:
    from pathlib import Path

FLASH_MAX_BYTES = 8192
RAM_MAX_BYTES = 512

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="gcc-arm-none-eabi is not installed"
)
M0 = ["-mcpu=cortex-m0", "-mthumb", "-Os", "-ffreestanding", "-fcallgraph-info=su"]


def tool(name: str, *words: str | Path) -> str:
    command = [f"arm-none-eabi-{name}", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("m0")
    tool("gcc", *STRICT, *M0, f"-I{CLIENT}", "-c", CLIENT / "workrs.c", "-o", made / "workrs.o")
    port = SOURCES / "cortex_m0.c"
    link = ("-nostdlib", "-nostartfiles", "-Wl,-Ttext=0")
    tool("gcc", *STRICT, *M0, f"-I{CLIENT}", *link, made / "workrs.o", port, "-o", made / "elf")
    return made


def symbol_bytes(folder: Path, name: str) -> int:
    found = re.search(rf"^\w+ (\w+) \w {name}$", tool("nm", "-S", folder / "elf"), re.MULTILINE)
    assert found
    return int(found[1], 16)


def deepest_stack_bytes(graph: str) -> int:
    """Return the most stack that any chain of calls takes, callbacks not counted."""
    own = {
        name: int(used)
        for name, used in re.findall(r'node: \{ title: "([^"]+)" label: ".*?(\d+) bytes', graph)
    }
    calls: dict[str, set[str]] = {}
    for source, target in re.findall(
        r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph
    ):
        calls.setdefault(source, set()).add(target)

    def deep(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"{name} calls itself: no bound"
        below = (deep(each, (*above, name)) for each in calls.get(name, ()))
        return own.get(name, 0) + max(below, default=0)

    return max(deep(name) for name in own)


def measured(folder: Path) -> dict[str, int]:
    text, data, bss = (
        int(n) for n in tool("size", folder / "workrs.o").splitlines()[1].split()[:3]
    )
    graph = (folder / "workrs.ci").read_text()
    return {
        "code and constants": text + data,
        "static memory": data + bss,
        "`workrs_client`": symbol_bytes(folder, "the_client"),
        "`workrs_job`": symbol_bytes(folder, "the_job"),
        "deepest stack": deepest_stack_bytes(graph),
    }


def test_it_fits(folder: Path) -> None:
    sizes = measured(folder)
    assert sizes["static memory"] == 0
    assert sizes["code and constants"] <= FLASH_MAX_BYTES
    client, job = sizes["`workrs_client`"], sizes["`workrs_job`"]
    assert client + 8 * job <= RAM_MAX_BYTES
    assert client + job + sizes["deepest stack"] <= RAM_MAX_BYTES


def test_it_needs_no_library_at_all(folder: Path) -> None:
    """Not even the compiler's own: a Cortex-M0 has no division, and none is called."""
    assert tool("nm", "-u", folder / "workrs.o") == ""


def test_the_page_says_how_large_it_is(folder: Path) -> None:
    page = (ROOT / "docs" / "c.md").read_text()
    for what, size in measured(folder).items():
        row = re.search(rf"^\| {re.escape(what)} \| ([\d,]+) \|", page, re.MULTILINE)
        assert row, what
        said = int(row[1].replace(",", ""))
        # Another version of the compiler gives other figures; a tenth more is worth a look.
        assert abs(said - size) <= size * 0.1, f"{what}: {size} bytes"
