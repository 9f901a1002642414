"""Goal: of each page in an image it is known which memory it is.

Method: page maps written here, in CRIU's format; and bytes that are none.
"""

from __future__ import annotations

import mmap
import random
import struct
from typing import TYPE_CHECKING

from edge_agent.checkpoint import pagemap
from edge_agent.checkpoint.pagemap import PageMap, page_maps

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = mmap.PAGESIZE


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(**fields: int) -> bytes:
    numbers = {"pages_id": 1, "vaddr": 1, "nr_pages": 2, "in_parent": 3, "flags": 4}
    body = b"".join(varint(numbers[k] << 3) + varint(v) for k, v in fields.items())
    return struct.pack("<I", len(body)) + body


def write(image: Path, ranges: list[tuple[int, int]], *, flags: int = 4) -> None:
    """Write the images of a process with *ranges* of (first page, pages)."""
    image.mkdir(exist_ok=True)
    entries = [message(vaddr=at * PAGE, nr_pages=n, flags=flags) for at, n in ranges]
    (image / "pagemap-7.img").write_bytes(bytes(8) + message(pages_id=3) + b"".join(entries))
    pages = sum(n for _, n in ranges) if flags & 4 else 0
    (image / "pages-3.img").write_bytes(bytes(pages * PAGE))


def test_pages_are_known_by_address(tmp_path: Path) -> None:
    write(tmp_path, [(2, 1), (4, 3), (9, 10)])
    ranges = [(2 * PAGE, PAGE), (4 * PAGE, 3 * PAGE), (9 * PAGE, 10 * PAGE)]
    assert page_maps(tmp_path) == {"pages-3.img": PageMap("pagemap-7.img", ranges)}


def test_ranges_side_by_side_are_one(tmp_path: Path) -> None:
    write(tmp_path, [(2, 1), (3, 3), (9, 10)])
    [found] = page_maps(tmp_path).values()
    assert found.ranges == [(2 * PAGE, 4 * PAGE), (9 * PAGE, 10 * PAGE)]


def test_pages_that_are_elsewhere_are_not_counted(tmp_path: Path) -> None:
    write(tmp_path, [(0, 5)], flags=2)
    assert page_maps(tmp_path)["pages-3.img"].ranges == []


def test_a_map_that_does_not_fit_its_pages_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, [(0, 5)])
    (tmp_path / "pages-3.img").write_bytes(b"x")
    assert page_maps(tmp_path) == {}


def test_ranges_that_go_back_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, [(9, 5), (2, 1)])
    assert page_maps(tmp_path) == {}


def test_what_is_remembered_of_all_processes_together_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        entries = [message(vaddr=at * PAGE, nr_pages=1, flags=4) for at in (2, 4)]
        head = bytes(8) + message(pages_id=number)
        (tmp_path / f"pagemap-{number}.img").write_bytes(head + b"".join(entries))
        (tmp_path / f"pages-{number}.img").write_bytes(bytes(2 * PAGE))
    assert set(page_maps(tmp_path)) == {"pages-1.img", "pages-2.img"}
    monkeypatch.setattr(pagemap, "_RANGES_MAX", 3)
    assert set(page_maps(tmp_path)) == {"pages-1.img"}


def test_junk_is_ignored(tmp_path: Path) -> None:
    rng = random.Random(1)
    write(tmp_path, [(2, 1), (3, 3), (9, 10)])
    good = (tmp_path / "pagemap-7.img").read_bytes()
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "pagemap-7.img").write_bytes(data[: rng.randrange(len(data) + 1)])
        for name, found in page_maps(tmp_path).items():
            assert sum(size for _, size in found.ranges) == (tmp_path / name).stat().st_size
            ends = [address + size for address, size in found.ranges]
            assert all(a < b for a, (b, _) in zip(ends, found.ranges[1:], strict=False))


def test_no_images_no_maps(tmp_path: Path) -> None:
    assert page_maps(tmp_path / "image") == {}
