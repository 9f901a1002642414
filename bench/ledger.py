"""Commits of the SQLite ledger: rows a second and milliseconds a commit, by batch size.

Run: .venv/bin/python bench/ledger.py [DIRECTORY]   (DIRECTORY on the disk to measure)
Each row is one record and one line of history. "busy" means that another thread of the
same process computes all the time, as the event loop of a loaded daemon does.
"""

import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from broker.ledger import SqliteLedger, create_ledger, open_ledger
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.record import Holder, Incarnation, Record, Version
from workrs.ports.ledger import Change, NoteHistory, SaveRecord

RECORD = Record(
    job=JobId("pump-7_00000000"),
    version=Version(1, 1),
    digest=Digest("a" * 64),
    holder=Holder(client=ClientId("agent-1"), incarnation=Incarnation(3, "ab" * 8)),
    attempt=1,
)
JOBS = 20_000


def changes(first: int, count: int, epoch: int) -> list[Change]:
    """Return *count* saves of a record, each with its line of history."""
    made: list[Change] = []
    for number in range(first, first + count):
        job = JobId(f"pump-7_{number % JOBS:08d}")
        made.append(SaveRecord(record=replace(RECORD, job=job, epoch=Epoch(epoch))))
        made.append(NoteHistory(event="granted", job=job, facts={"epoch": epoch}))
    return made


def measure(ledger: SqliteLedger, *, batch: int, rows: int, epoch: int, label: str) -> None:
    """Commit *rows* in batches and print one line."""
    latencies: list[float] = []
    cpu = time.process_time()
    for first in range(0, rows, batch):
        made = changes(first, batch, epoch)
        began = time.perf_counter()
        ledger.commit(made)
        latencies.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    latencies.sort()
    middle, late = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    print(
        f"{label:<22} {batch:>4} a commit  {rows / sum(latencies):>7.0f} rows/s"
        f"  p50 {middle * 1e3:6.2f} ms  p99 {late * 1e3:6.2f} ms"
        + (f"  {cpu / rows * 1e6:5.1f} us CPU a row" if label == "idle" else "")
    )


def compute(stop: threading.Event) -> None:
    """Keep the interpreter busy until told to stop."""
    while not stop.is_set():
        pass


def main() -> None:
    """Measure on the disk of the given directory, or of the temporary one."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=place) as directory:
        path = Path(directory) / "ledger.db"
        create_ledger(path)
        ledger = open_ledger(path)
        for epoch, (batch, rows) in enumerate(((1, 2_000), (10, 10_000), (100, 40_000)), 1):
            measure(ledger, batch=batch, rows=rows, epoch=epoch, label="idle")
        measure(ledger, batch=300, rows=60_000, epoch=99, label="idle")
        stop = threading.Event()
        busy = threading.Thread(target=compute, args=(stop,))
        busy.start()
        for epoch, switch_s in ((200, 0.005), (300, 0.0005)):
            sys.setswitchinterval(switch_s)
            label = f"busy, switch {switch_s * 1e3:g} ms"
            measure(ledger, batch=20, rows=2_000, epoch=epoch, label=label)
            measure(ledger, batch=300, rows=6_000, epoch=epoch + 1, label=label)
        stop.set()
        busy.join()
        ledger.close()


if __name__ == "__main__":
    main()
