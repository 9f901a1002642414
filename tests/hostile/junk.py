"""Payloads that no honest client sends.

python -m tests.hostile.junk          what the codec takes of memory for the worst of them
python -m tests.hostile.junk without  and without its limits
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from workrs.domain.errors import WireError
from workrs.domain.function import FunctionRecord
from workrs.domain.job import JobSpec
from workrs.domain.record import Record
from workrs.ports.bus import PAYLOAD_MAX_BYTES
from workrs.wire import codec, message

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2-7f3a"
JUNK = {
    "empty": b"",
    "deep": b'{"v":1,"env":' + b"[" * 60_000,
    "truncated": b'{"v": 1, "image": "' + SECRET.encode(),
    "not-utf8": b'{"image": "\xff\xfe\x80"}',
    "zeros": bytes(1000),
    "no-object": b"[" + b"0," * 60_000 + b"0]",
    "huge-number": b'{"v": ' + b"9" * 5000 + b"}",
    "long-name": b'{"' + b"a" * 60_000 + b'": 1}',
    "wrong-types": json.dumps({"v": "1", "image": 7, "cpus": SECRET, "env": []}).encode(),
}
KINDS = (JobSpec, Record, FunctionRecord, message.Beat, message.Claim, message.NodeState)
_UNITS = ("1", "{}", "[]", '""', "[[]]", '{"a":1}', "null", "-1e9", '"\\u00e9"', '[1,"a",1]')
_FIELDS = {
    "": "",
    "command": '"image":"a",',
    "held": '"incarnation":[1,"a"],',
    "labels": '"incarnation":[1,"a"],',
    "checkpoints": "",
    "refused": "",
    "stores": "",
}
_NAMED = ("env", "files", "")


def bombs(size: int) -> Iterator[bytes]:
    """Yield payloads of about *size* bytes that have very many values, or look so."""
    for unit in _UNITS:
        filling = ",".join([unit] * (size // (len(unit) + 1)))
        for name, head in _FIELDS.items():
            whole = f'{{{head}"{name}":[{filling}]}}' if name else f"[{filling}]"
            yield whole.encode()
    for unit in _UNITS:
        named = ",".join(f'"{number}":{unit}' for number in range(size // (len(unit) + 9)))
        for name in _NAMED:
            yield (f'{{"{name}":{{{named}}}}}' if name else f"{{{named}}}").encode()
    yield b"[" * size
    yield b'{"a":' * (size // 5)
    yield b'{"image":"' + b"," * size
    yield b'{"image":"' + b'\\"' * (size // 2)
    yield b'{"image":"a"' + b',"image":"a"' * (size // 12) + b"}"
    rng = random.Random(size)
    for _ in range(20):
        yield bytes(rng.choices(b'[]{},:"\\01ae \xff', k=size))


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def most_memory(size: int) -> int:
    """Return the most that one `decode` of a bomb of this size took, or the first too much."""
    most = 0
    for bomb in bombs(size):
        for kind in KINDS:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
            before = _peak_bytes()
            with contextlib.suppress(WireError):
                codec.decode(kind, bomb)
            most = max(most, _peak_bytes() - before)
            if most > min(size * codec.MEMORY_PER_BYTE, codec.MEMORY_MAX_BYTES):
                return most  # too much: how much too much is of no interest
    return most


def main() -> None:
    """Print the most for each of some sizes."""
    with contextlib.ExitStack() as stack:
        if sys.argv[1:] == ["without"]:
            stack.enter_context(patch.object(codec, "_refuse_crowd", lambda _: None))
            stack.enter_context(patch.object(codec, "_strictened", lambda schema: schema))
        most_memory(1000)  # makes the validators, and the heap a little larger
        found = {size: most_memory(size) for size in (60_000, PAYLOAD_MAX_BYTES)}
        sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
