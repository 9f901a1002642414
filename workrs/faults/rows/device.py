"""Rows about devices: what they send twice, what they miss, and what they die in the middle of."""

import itertools
import json
import subprocess
import sys
from typing import Final

from device_client import Device
from workrs.domain.errors import WorkrsError
from workrs.domain.quorum import majority
from workrs.faults import sender
from workrs.faults.load import beads, beads_value
from workrs.faults.row import Injection, Row, RowError
from workrs.faults.site import Notes, Site
from workrs.wire import topics

REPEATS: Final = 20
SENT_S: Final = 20.0
RESULT_S: Final = 40.0
AWAY_STEPS: Final = 40
"""Of 0.1 s each: the device is to hear that its job runs, and to leave before it ends."""
BACK_S: Final = 2.0
"""A device that is back has the result of a job that ended meanwhile in this time."""
KILL_WITHIN_S: Final = 0.008
"""A submit is accepted some 10 ms after the outbox has it: connecting takes the most of it."""
_NUMBERS: Final = itertools.count(1)


def _steps(steps: int, seed: str) -> tuple[dict[str, object], bytes]:
    # A device writes the version; without it the same request would be another one.
    return {"v": 1, **beads(steps=steps, seed=seed)}, beads_value(steps=steps, seed=seed)


def _publish(site: Site, node: str, device: str, job: str, spec: object) -> subprocess.Popen[bytes]:
    at = site.cluster.addresses[node]
    topic = topics.up(device, "submit", job)
    words = ["-h", at.host, "-p", str(at.port), "-q", "1", "-t", topic, "-m", json.dumps(spec)]
    return subprocess.Popen(["mosquitto_pub", *words], stderr=subprocess.DEVNULL)


def _require_one_job(site: Site, notes: Notes, job: str) -> None:
    """Fail unless the nodes show one spec and one start of *job* (its id on the bus)."""

    def decided() -> bool:
        records = site.trace.records(job).values()
        return sum(r.decided is not None for r in records) >= majority(len(site.nodes))

    site.until(f"the decision on {job} at a majority", decided, RESULT_S)
    records = site.trace.records(job)
    digests = {r.digest for r in records.values() if r.digest is not None}
    outcomes = {r.decided_digest for r in records.values() if r.decided_digest is not None}
    attempts = max(r.attempt for r in records.values())
    if len(digests) != 1 or len(outcomes) != 1:
        raise RowError(f"{job} has {len(digests)} specs and {len(outcomes)} outcomes")
    if attempts != 1:
        raise RowError(f"{job} was started {attempts} times")
    notes.note(f"{job}: one spec, one start, one outcome at {len(records)} nodes")


def repeat_submit(site: Site) -> Injection:
    """Send a submit 20 times by mosquitto_pub over all nodes, and once more by a device.

    Every other time two brokers die in the middle of it.
    """
    number = next(_NUMBERS)
    name, job = f"twice-{number}", "once"
    kills = number % 2 == 0
    spec, expected = _steps(10, f"repeat {number}")
    with site.injecting("submit-repeated") as notes:
        began_s = notes.mark(f"{name}_{job}", "fault", f"{REPEATS} submits of one job")
        senders = []
        for turn in range(REPEATS):
            if kills and turn in (6, 12):
                victim = site.nodes[(number + turn) % len(site.nodes)]
                site.kill_broker(victim)
                notes.mark(f"broker {victim}", "fault", "SIGKILL")
            senders.append(_publish(site, site.nodes[turn % len(site.nodes)], name, job, spec))
            site.pause(site.rng.uniform(0.0, 0.05))
        refused = sum(sender.wait(site.allowed_s(SENT_S)) != 0 for sender in senders)
        with Device(name, _hosts(site, *site.nodes), insecure=True) as device:
            device.submit(spec, job=job)
            _require_value(site, device, job, expected)
        notes.figure("result", site.trace.now_s - began_s)
        notes.note(f"{REPEATS - refused} of {REPEATS} reached a broker")
        _require_one_job(site, notes, f"{name}_{job}")
        site.until_healthy()
    return notes.done()


def _require_value(site: Site, device: Device, job: str, expected: bytes) -> None:
    try:
        value = device.result(job, timeout=site.allowed_s(RESULT_S)).value
    except WorkrsError as error:
        raise RowError(f"{job} has no result: {error}") from error
    if value != expected:
        raise RowError(f"{job} has the result {value!r:.80}, not {expected!r:.80}")


def result_elsewhere(site: Site) -> Injection:
    """Have a job end while its device is away; the device comes back at another node."""
    number = next(_NUMBERS)
    name, job = f"away-{number}", "job"
    first, second = site.rng.sample(site.nodes, 2)
    knows_outbox = number % 2 == 0
    spec, expected = _steps(AWAY_STEPS, f"away {number}")
    outbox = site.root / "outboxes" / f"{name}.db"
    with site.injecting("device-elsewhere") as notes:
        with Device(name, _hosts(site, first), outbox=outbox, insecure=True) as device:
            device.submit(spec, job=job)
            site.until("the job to run", lambda: device.state(job).state.value == "running")
        notes.mark(f"{name}_{job}", "fault", f"the device leaves {first}")
        site.until(
            f"the end of {name}_{job}",
            lambda: any(r.decided for r in site.trace.records(f"{name}_{job}").values()),
            RESULT_S,
        )
        back_s = notes.mark(f"{name}_{job}", "heal", f"the device is back at {second}")
        again = outbox if knows_outbox else None
        with Device(name, _hosts(site, second), outbox=again, insecure=True) as device:
            _require_value(site, device, job, expected)
            took_s = site.trace.now_s - back_s
        notes.figure("back", took_s)
        notes.note("on its outbox" if knows_outbox else "with nothing but the job's id")
        if took_s > site.allowed_s(BACK_S):
            raise RowError(f"the result came {took_s:.2f} s after the device was back")
    return notes.done()


def _hosts(site: Site, *nodes: str) -> list[str]:
    return [str(site.cluster.addresses[node]) for node in nodes]


def kill_device(site: Site) -> Injection:
    """SIGKILL a device between its submit and *accepted*; start it again on its outbox."""
    number = next(_NUMBERS)
    name, job = f"killed-{number}", "job"
    bus_id = f"{name}_{job}"
    spec, expected = _steps(5, f"killed {number}")
    turn = number % len(site.nodes)
    hosts = _hosts(site, *site.nodes[turn:], *site.nodes[:turn])
    with site.injecting("device-killed") as notes:
        device = _sender(site, name, job, hosts, json.dumps(spec))
        site.pause(site.rng.uniform(0.0, KILL_WITHIN_S))
        _end(device)
        at_s = notes.mark(bus_id, "fault", "SIGKILL of the device")
        before = len(site.trace.records(bus_id))
        notes.note(f"killed when {before} of {len(site.nodes)} nodes had shown the job")
        device = _sender(site, name, job, _hosts(site, *site.nodes), "")
        notes.mark(bus_id, "heal", "the device runs again on its outbox")
        try:
            value, _ = device.communicate(timeout=site.allowed_s(RESULT_S))
        except subprocess.TimeoutExpired as late:
            raise RowError(f"{bus_id} had no result after {late.timeout:g} s") from None
        finally:
            _end(device)
        notes.figure("result", site.trace.now_s - at_s)
        if value.encode() != expected:
            raise RowError(f"{bus_id} has the result {value!r:.80}, not {expected!r:.80}")
        _require_one_job(site, notes, bus_id)
    return notes.done()


def _sender(site: Site, name: str, job: str, hosts: list[str], spec: str) -> subprocess.Popen[str]:
    """Start a device that has the job on its disk when this returns."""
    outbox = site.root / "outboxes" / f"{name}.db"
    process = subprocess.Popen(
        [sys.executable, "-m", sender.__name__, name, str(outbox), job, *hosts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(spec)
    process.stdin.close()
    process.stdin = None
    if process.stdout.readline() != "kept\n":
        _end(process)
        raise RowError(f"device {name} ended before its job was kept")
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


ROWS = (
    Row(
        name="submit-repeated",
        title="one submit repeated 20 times over all nodes, half the time while brokers die",
        passes_when="one job: one spec, one start, one outcome",
        inject=repeat_submit,
        repeat=12,
        quick=1,
    ),
    Row(
        name="device-elsewhere",
        title="device away when the result comes, back at another node",
        passes_when=f"it has the result within {BACK_S:g} s",
        inject=result_elsewhere,
        repeat=12,
        quick=1,
        bounds={"back": BACK_S},
    ),
    Row(
        name="device-killed",
        title="device killed between submit and accepted, started again on its outbox",
        passes_when="one job, and the device gets its result",
        inject=kill_device,
        repeat=12,
        quick=1,
    ),
)
