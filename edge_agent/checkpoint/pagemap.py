"""Where CRIU's page images may be cut so that equal memory gives equal parts.

`pages-N.img` holds a process's pages one after the other, and `pagemap-*.img` says which
addresses they are of. Cut at fixed offsets, one page more near the beginning would shift all
parts after it, and none of them would be found in the checkpoint before. Cut where addresses
are multiples of PART_BYTES, a page more changes the part it is in.

The images' format is CRIU's: eight bytes of magic, then messages in protocol buffers, each
after its size in four bytes. Whatever is not understood is no error: the file is then cut at
offsets, like any other.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

_MAGIC_BYTES = 8
_PAGES_ID = 1
_VADDR, _NR_PAGES, _IN_PARENT, _FLAGS = 1, 2, 3, 4
_PRESENT = 4
"""Flag of an entry whose pages are in the pages image."""
_MAP_BYTES_MAX = 64 << 20


def page_cuts(image: Path, part_bytes: int) -> dict[str, list[int]]:
    """Return, by the name of a page image, the lengths between its cuts.

    Args:
        image: folder with CRIU's images.
        part_bytes: size and alignment of a part; a multiple of the page size.
    """
    cuts = {}
    for path in sorted(image.glob("pagemap-*.img")):
        if path.stat().st_size <= _MAP_BYTES_MAX:
            try:
                pages_id, ranges = _read(path.read_bytes())
            except (ValueError, LookupError, struct.error):
                continue
            name = f"pages-{pages_id}.img"
            pages = image / name
            if pages.is_file() and sum(size for _, size in ranges) == pages.stat().st_size:
                cuts[name] = _lengths(ranges, part_bytes)
    return cuts


def _read(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of the page image, and (address, bytes) of what is in it, in order."""
    messages = _messages(data)
    pages_id = next(messages, {})[_PAGES_ID]
    ranges = []
    for entry in messages:
        flags = entry.get(_FLAGS)
        if (flags is None and not entry.get(_IN_PARENT)) or (flags or 0) & _PRESENT:
            ranges.append((entry[_VADDR], entry[_NR_PAGES] * mmap.PAGESIZE))
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


def _lengths(ranges: list[tuple[int, int]], part_bytes: int) -> list[int]:
    """Cut at every multiple of *part_bytes* of the address."""
    lengths: list[int] = []
    window = -1
    for address, size in ranges:
        at, end = address, address + size
        while at < end:
            step = min(end, (at // part_bytes + 1) * part_bytes) - at
            if at // part_bytes == window:
                lengths[-1] += step
            else:
                lengths.append(step)
                window = at // part_bytes
            at += step
    return lengths
