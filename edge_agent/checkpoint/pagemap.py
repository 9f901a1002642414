"""Which memory the bytes of CRIU's page images are, so that the same memory is found again.

`pages-N.img` holds a process's pages one after the other, and `pagemap-*.img` says which
addresses they are of. By its place in the file, one page more near the beginning would make
all pages after it look changed. By its address, a page is compared with what was at the same
address before.

The images' format is CRIU's: eight bytes of magic, then messages in protocol buffers, each
after its size in four bytes. Whatever is not understood is no error: the file is then taken
like any other, by offset.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MAGIC_BYTES = 8
_PAGES_ID = 1
_VADDR, _NR_PAGES, _IN_PARENT, _FLAGS = 1, 2, 3, 4
_PRESENT = 4
"""Flag of an entry whose pages are in the pages image."""
_MAP_BYTES_MAX = 64 << 20
_RANGES_MAX = 1 << 18
"""Of all processes together. More, and what is remembered of them would cost more memory than an
agent may have."""


class PageMap(NamedTuple):
    """Whose memory a page image holds."""

    source: str
    """Name of the map: it has the process's number, which a restore keeps."""
    ranges: list[tuple[int, int]]
    """Address and bytes, in the order of the page image."""


def page_maps(image: Path) -> dict[str, PageMap]:
    """Return the maps of the page images in the folder *image*, by the page image's name."""
    found = {}
    left = _RANGES_MAX
    for path in sorted(image.glob("pagemap-*.img")):
        if path.stat().st_size <= _MAP_BYTES_MAX:
            try:
                pages_id, ranges = _read(path.read_bytes(), left)
            except (ValueError, LookupError, struct.error):
                continue
            name = f"pages-{pages_id}.img"
            pages = image / name
            if pages.is_file() and sum(size for _, size in ranges) == pages.stat().st_size:
                found[name] = PageMap(path.name, ranges)
                left -= len(ranges)
    return found


def _read(data: bytes, ranges_max: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of the page image, and what is in it."""
    messages = _messages(data)
    pages_id = next(messages, {})[_PAGES_ID]
    ranges: list[tuple[int, int]] = []
    end = -1
    for entry in messages:
        flags = entry.get(_FLAGS)
        if (flags is None and not entry.get(_IN_PARENT)) or (flags or 0) & _PRESENT:
            address, size = entry[_VADDR], entry[_NR_PAGES] * mmap.PAGESIZE
            if address % mmap.PAGESIZE or not size:
                raise ValueError("no range of pages")
            if address == end:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + size)
            else:
                ranges.append((address, size))
            if address < end or len(ranges) > ranges_max:
                raise ValueError("ranges overlap, or are too many")
            end = address + size
    return pages_id, ranges


def _messages(data: bytes) -> Iterator[dict[int, int]]:
    offset = _MAGIC_BYTES
    while offset < len(data):
        (size,) = struct.unpack_from("<I", data, offset)
        offset += 4
        yield _numbers(data[offset : offset + size])
        offset += size


def _numbers(message: bytes) -> dict[int, int]:
    """Return the fields of a message that has none but whole numbers."""
    found = {}
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        if key & 7:
            raise ValueError("a field of another type")
        found[key >> 3], offset = _varint(message, offset)
    return found


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, offset
        if shift > 63:
            raise ValueError("a number of over 64 bits")
