"""Rows about damaged checkpoints: found before anything starts from them, and done without.

Each injection stops the agent of a job that has two checkpoints, does harm to the newer one
where the nodes keep it, and kills the agent. Another start of the job must find the harm, go on
from the older one (or from the beginning, where both are harmed), and end with the value of an
undisturbed run, which is a chain of hashes over all its steps.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from workrs.adapters.mqtt import connect
from workrs.domain import quorum
from workrs.domain.ids import ClientId
from workrs.domain.quorum import majority
from workrs.domain.record import CheckpointRef, Holder
from workrs.faults.damage import Stored, flip, forge, spoil, swap, truncate
from workrs.faults.diary import Entry
from workrs.faults.load import Sent
from workrs.faults.plan import SitePlan
from workrs.faults.row import CRIU, ENGINE, NET, Injection, Row, RowError
from workrs.faults.rows.poison import CONTAINERS, PROCESSES
from workrs.faults.site import Site
from workrs.ports.bus import Message
from workrs.wire import codec, topics
from workrs.wire.message import CheckpointReport

NETWORK: Final = SitePlan(net=True)
RUN_S: Final = 12.0
STARTED_S: Final = 60.0
SILENCE_S: Final = 12.0
"""How long blob stores say nothing: longer than an agent waits for one, which is 8 s."""
_NUMBERS: Final = itertools.count(1)

Order = tuple[int, int]
"""Epoch and number of a checkpoint."""
Harm = Callable[[Site, Sequence["Victim"]], tuple[str, Sequence[Order | None]]]
"""Does harm; says what was done, and for each victim which checkpoint is left (None: none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A job whose agent stands still, and its two newest checkpoints."""

    sent: Sent
    agent: str
    epoch: int
    newer: Stored
    older: Stored

    @property
    def job(self) -> str:
        """Its id on the bus."""
        return self.sent.bus_id


def harmed(site: Site, name: str, harm: Harm, *, jobs: int = 1) -> Injection:
    """Do harm to checkpoints and kill their agents; see what the jobs then start from."""
    with site.injecting(name) as notes:
        victims = _stop_at_two(site, [site.send_beads("saver", run_s=RUN_S) for _ in range(jobs)])
        what, left = harm(site, victims)
        killed_s = site.trace.now_s
        for agent in sorted({victim.agent for victim in victims}):
            killed_s = site.kill(agent)
            notes.mark(agent, "fault", f"SIGKILL; {what}")
            site.start(agent)
        for victim, wanted in zip(victims, left, strict=True):
            begun = _begun(site, victim, killed_s)
            notes.figure("resumed", begun.at_s - killed_s)
            _require_found(site, victim, killed_s)
            _require_from(begun, victim, wanted)
            notes.note(f"{victim.job}: {what}; it {_source(begun)}")
        for victim in victims:
            _require_end(site, victim.sent)
    return notes.done()


def _stop_at_two(site: Site, jobs: Sequence[Sent]) -> list[Victim]:
    """Stop the agents of jobs as soon as a majority names two checkpoints of each."""
    for sent in jobs:
        site.until(f"two checkpoints of {sent.bus_id}", partial(_two, site, sent.bus_id), STARTED_S)
    agents = {sent.bus_id: site.until_lease(sent.bus_id).agent for sent in jobs}
    for agent in sorted(set(agents.values())):
        site.stop(agent)
    # What the agents had said just before is in all records by the time in which a job that is
    # sent now has made its way through brokers and nodes.
    later = site.send_echo("saver")
    site.until(f"{later.bus_id} to be accepted", lambda: later.accepted_s)
    return [_victim(site, sent, agents[sent.bus_id]) for sent in jobs]


def _newest(site: Site, job: str) -> list[CheckpointRef]:
    records = site.trace.records(job)
    return quorum.newest_checkpoints({ClientId(node): r for node, r in records.items()})


def _two(site: Site, job: str) -> bool:
    """Return whether a majority names the two newest checkpoints of a job."""
    refs = _newest(site, job)[:2]
    return len(refs) == 2 and all(_is_named(site, job, ref) for ref in refs)


def _is_named(site: Site, job: str, ref: CheckpointRef) -> bool:
    records = site.trace.records(job).values()
    return sum(ref in record.checkpoints for record in records) >= majority(len(site.nodes))


def _victim(site: Site, sent: Sent, agent: str) -> Victim:
    refs = _newest(site, sent.bus_id)
    if len(refs) < 2 or sent.ended_s is not None:
        raise RowError(f"{sent.bus_id} ended before its checkpoints could be harmed")
    newer, older = (
        Stored(root=site.root / "cluster", job=sent.bus_id, ref=ref) for ref in refs[:2]
    )
    epoch = max(record.epoch for record in site.trace.records(sent.bus_id).values())
    return Victim(sent=sent, agent=agent, epoch=epoch, newer=newer, older=older)


def _begun(site: Site, victim: Victim, since_s: float) -> Entry:
    """Wait for the next start of the job's program, as its agent's log tells it."""

    def look() -> Entry | None:
        site.diary.refresh()
        return _started(site, victim, since_s)

    return site.until(f"a start of {victim.job} after the kill", look, STARTED_S)


def _started(site: Site, victim: Victim, since_s: float) -> Entry | None:
    for entry in site.diary.entries:
        if (
            entry.key in ("job_started", "restored")
            and entry.facts.get("job") == victim.job
            and entry.at_s > since_s
            and entry.number("epoch") > victim.epoch
        ):
            return entry
    return None


def _require_found(site: Site, victim: Victim, since_s: float) -> None:
    for entry in site.diary.entries:
        if (
            # The first is what the reader refused, the second what the engine did.
            (entry.key == "checkpoint_refused" or entry.facts.get("blame") == "checkpoint")
            and entry.facts.get("job") == victim.job
            and entry.at_s > since_s
        ):
            return
    raise RowError(f"nobody noticed the harm done to {victim.job}'s checkpoint")


def _require_from(begun: Entry, victim: Victim, wanted: Order | None) -> None:
    found = None
    if begun.key == "restored":
        found = (begun.number("from_epoch"), begun.number("seq"))
    if found != wanted:
        raise RowError(f"{victim.job} {_source(begun)}, though {wanted or 'no checkpoint'} is left")


def _source(begun: Entry) -> str:
    if begun.key == "job_started":
        return "started from its beginning"
    facts = begun.facts
    return f"went on from checkpoint {facts['seq']} of epoch {facts['from_epoch']}"


def _require_end(site: Site, sent: Sent) -> None:
    site.until(f"the end of {sent.bus_id}", lambda: sent.ended_s is not None, STARTED_S)
    wrong = [text for text in site.load.violations if text.startswith(f"{sent.bus_id} ")]
    if wrong:
        raise RowError(wrong[0])


def _spoil(
    site: Site, victims: Sequence[Victim], *, cut: bool, both: bool = False
) -> tuple[str, list[Order | None]]:
    """Cut off, or turn a bit of, one blob of the newer checkpoint; of both, if so asked."""
    pairs = [(victim.newer, victim.older) for victim in victims]
    if both:
        pairs += [(victim.older, victim.newer) for victim in victims]
    spoil(pairs, truncate if cut else flip, site.rng)
    which = "both checkpoints" if both else "newest checkpoint"
    what = f"{which} {'cut off' if cut else 'with one bit turned'} at all nodes"
    return what, [None if both else victim.older.ref.order for victim in victims]


def truncated(site: Site, *, name: str) -> Injection:
    """Cut the newest checkpoint off."""
    return harmed(site, name, partial(_spoil, cut=True))


def flipped(site: Site, *, name: str) -> Injection:
    """Turn one bit of the newest checkpoint; every third time, of both."""
    return harmed(site, name, partial(_spoil, cut=False, both=next(_NUMBERS) % 3 == 0))


def swapped(site: Site, *, name: str) -> Injection:
    """Put two jobs' newest checkpoints in each other's place."""

    def harm(_site: Site, victims: Sequence[Victim]) -> tuple[str, list[Order | None]]:
        swap(victims[0].newer, victims[1].newer)
        left: list[Order | None] = [victim.older.ref.order for victim in victims]
        return "newest checkpoints of two jobs swapped at all nodes", left

    return harmed(site, name, harm, jobs=2)


_CLAIMS: Final[tuple[Mapping[str, str], ...]] = (
    {"cpu": "0" * 64},
    {"arch": "riscv64"},
    {"kernel": "99.0"},
    {"criu": "99.0"},
    # Of this very machine as far as anybody can tell, but CRIU cannot read it, and says so.
    {"spoil": "image/inventory.img"},
)


def foreign(site: Site, *, name: str) -> Injection:
    """Report a checkpoint that is whole and claims to be another machine's.

    It is another processor's, architecture's, kernel's or CRIU's, or has images that no CRIU
    can read.
    """
    claim = _CLAIMS[next(_NUMBERS) % len(_CLAIMS)]

    def harm(site: Site, victims: Sequence[Victim]) -> tuple[str, list[Order | None]]:
        [victim] = victims
        _report(site, victim, forge(victim.newer, **claim))
        return f"a newer checkpoint claims {', '.join(claim)}", [victim.newer.ref.order]

    return harmed(site, name, harm)


def _report(site: Site, victim: Victim, ref: CheckpointRef) -> None:
    """Speak for a stopped agent, and wait until a majority believes it."""
    record = max(site.trace.records(victim.job).values(), key=lambda record: record.epoch)
    holder = record.holder
    if holder is None:
        raise RowError(f"{victim.job} has no holder to speak for")
    asyncio.run(_say(site, victim, ref, holder))

    site.until(
        f"the forged checkpoint of {victim.job} at a majority",
        partial(_is_named, site, victim.job, ref),
    )


async def _say(site: Site, victim: Victim, ref: CheckpointRef, holder: Holder) -> None:
    body = CheckpointReport(incarnation=holder.incarnation, checkpoint=ref)
    topic = topics.up(holder.client, "checkpoint", victim.job)
    address = site.cluster.addresses[site.nodes[0]]
    async with connect(address=address, client_id="forger") as bus:
        bus.publish(Message(topic, codec.encode(body)))
        await bus.flush()


def silent_stores(site: Site, *, name: str) -> Injection:
    """Have the stores that hold a job's checkpoints say nothing while its agent is killed."""
    net = site.net
    if net is None:
        raise RowError("there is no network to silence a store in")
    one_answers = next(_NUMBERS) % 2 == 0
    with site.injecting(name) as notes:
        [victim] = _stop_at_two(site, [site.send_beads("saver", run_s=RUN_S)])
        places = [urlsplit(url) for url in victim.newer.ref.location]
        by_address = {net.address(node): node for node in site.nodes}
        for place in places[one_answers:]:
            node = by_address[place.hostname or ""]
            net.door(node, place.port or 0).swallow()
            notes.mark(node, "fault", "its blob store says nothing")
        killed_s = site.kill(victim.agent)
        notes.mark(victim.agent, "fault", "SIGKILL")
        site.start(victim.agent)
        if not one_answers:
            site.pause(SILENCE_S)
            _require_waiting(site, victim, killed_s)
            net.heal()
            notes.mark(victim.agent, "heal", "the blob stores answer again")
        begun = _begun(site, victim, killed_s)
        net.heal()
        notes.figure("resumed", begun.at_s - killed_s)
        _require_from(begun, victim, victim.newer.ref.order)
        silent = "one of its stores" if one_answers else "all of its stores"
        notes.note(f"{victim.job}: {silent} silent; it {_source(begun)}")
        _require_end(site, victim.sent)
        net.close_doors()
    return notes.done()


def _require_waiting(site: Site, victim: Victim, since_s: float) -> None:
    """Raise RowError unless somebody took the job over and cannot begin: else nothing was silent.

    Or something else was, such as the brokers, and nobody got as far as to ask a store.
    """
    if not any(lease.epoch > victim.epoch for lease in site.trace.leases(victim.job)):
        raise RowError(f"nobody took {victim.job} over while its stores were silent")
    site.diary.refresh()
    if begun := _started(site, victim, since_s):
        raise RowError(f"{victim.job} {_source(begun)} while all of its stores were silent")


def _both_rungs(kind: str, title: str, inject: Callable[..., Injection]) -> tuple[Row, Row]:
    """Return the row for plain processes, whose files are saved, and for whole containers."""
    passes_when = "found; the one before is used, or the beginning; the value is right"
    files, memory = f"checkpoint-{kind}", f"checkpoint-{kind}-memory"
    return (
        Row(
            name=files,
            title=f"{title}, of a process's files",
            passes_when=passes_when,
            inject=partial(inject, name=files),
            plan=PROCESSES,
            repeat=5,
            quick=int(kind == "flipped"),
        ),
        Row(
            name=memory,
            title=f"{title}, of a container's memory",
            passes_when=passes_when,
            inject=partial(inject, name=memory),
            plan=CONTAINERS,
            repeat=3,
            needs=frozenset({ENGINE, CRIU}),
        ),
    )


ROWS = (
    *_both_rungs("truncated", "a checkpoint that was cut off", truncated),
    *_both_rungs("flipped", "a checkpoint with one bit turned", flipped),
    *_both_rungs("swapped", "checkpoints of two jobs swapped", swapped),
    Row(
        name="checkpoint-foreign-memory",
        title="a checkpoint that claims another processor, architecture, or kernel and CRIU",
        passes_when="refused; the one before is used; the value is right",
        inject=partial(foreign, name="checkpoint-foreign-memory"),
        plan=CONTAINERS,
        repeat=6,
        quick=1,
        needs=frozenset({ENGINE, CRIU}),
    ),
    Row(
        name="checkpoint-store-silent",
        title="blob stores that say nothing when a checkpoint is wanted",
        passes_when="nobody takes it for a bad checkpoint: it is used once a store answers",
        inject=partial(silent_stores, name="checkpoint-store-silent"),
        plan=NETWORK,
        repeat=4,
        needs=frozenset({NET}),
    ),
)
