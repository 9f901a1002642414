"""Goal: a checkpoint is restored where it can be, as what it was; else the best that is left.

Method: one machine that can; then each way not to; then what every job may fall to.
"""

from dataclasses import replace

import pytest

from workrs.domain.host import HostFacts
from workrs.domain.ids import Digest, Epoch
from workrs.domain.job import CheckpointMode
from workrs.domain.ladder import Able, Saved, Way, fall, refusal, saved_as, ways
from workrs.domain.record import CheckpointRef

HERE = HostFacts(arch="amd64", cpu="c1", kernel="6.1.0", criu="4.1")
AUTO = CheckpointMode.AUTO


def ref(seq: int, rung: str = "memory", host: HostFacts | None = HERE) -> CheckpointRef:
    return CheckpointRef(
        epoch=Epoch(1),
        seq=seq,
        manifest=Digest(f"{seq:064x}"),
        location=("u",),
        rung=rung,
        bytes=1,
        host=host,
    )


OTHER_CPU = ref(2, host=replace(HERE, cpu="c2"))


@pytest.mark.parametrize(
    ("saved", "on", "rung", "host", "refused"),
    [
        ("memory", HERE, "memory", HERE, None),
        ("memory", replace(HERE, cpu="c2"), "memory", HERE, "cpu"),
        ("memory", None, "memory", HERE, None),
        ("memory", HERE, "memory", None, None),
        ("memory", HERE, "files", HERE, "no memory"),
        ("memory", HERE, "none", HERE, "no memory"),
        ("files", replace(HERE, cpu="c2"), "memory", HERE, None),
        ("files", None, "files", None, None),
        ("files", None, "none", None, "nothing"),
    ],
)
def test_an_agent_restores_what_its_rung_and_its_machine_allow(
    saved: str, on: HostFacts | None, rung: str, host: HostFacts | None, refused: str | None
) -> None:
    why = refusal(Saved(saved, on), Able(rung, host))
    assert (why is None) == (refused is None)
    assert (refused or "") in (why or "")


def test_an_older_checkpoint_that_fits_comes_before_the_files_of_the_newest() -> None:
    refs = [OTHER_CPU, ref(1)]
    assert ways(refs, able=Able("memory", HERE), mode=AUTO) == [
        Way(refs[1], "memory"),
        Way(refs[0], "files"),
        Way(refs[1], "files"),
    ]


def test_an_agent_without_memory_takes_the_files_of_every_checkpoint() -> None:
    refs = [ref(2), ref(1, rung="files")]
    assert ways(refs, able=Able("files", HERE), mode=AUTO) == [
        Way(refs[1], "files"),
        Way(refs[0], "files"),
    ]


def test_newer_files_come_before_older_memory() -> None:
    refs = [ref(2, rung="files"), ref(1)]
    assert ways(refs, able=Able("memory", HERE), mode=AUTO)[:2] == [
        Way(refs[0], "files"),
        Way(refs[1], "memory"),
    ]


def test_a_job_that_asks_for_memory_never_begins_again_with_its_files() -> None:
    assert ways([OTHER_CPU], able=Able("memory", HERE), mode=CheckpointMode.MEMORY) == []


def test_an_agent_that_restores_nothing_has_no_way_but_the_beginning() -> None:
    assert ways([ref(1, rung="files")], able=Able("none"), mode=AUTO) == []


def test_what_is_restored_as_it_was_is_no_fall() -> None:
    assert fall([], None, "") == ""
    assert fall([ref(2), ref(1)], Way(ref(2), "memory"), "") == ""


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way(ref(1), "memory"), "went on from 1.1: "),
        (Way(ref(2), "files"), "began again with the files of 1.2: "),
        (None, "began again: "),
    ],
)
def test_a_fall_says_to_what_and_why(way: Way | None, said: str) -> None:
    lost = "checkpoint 1.2 (memory) is of no use here: another cpu"
    assert fall([ref(2), ref(1)], way, "another cpu") == said + lost


def test_the_machine_is_no_part_of_which_checkpoint_it_is() -> None:
    assert ref(1) == ref(1, host=None)
    assert len({ref(1), ref(1, host=None)}) == 1


@pytest.mark.parametrize(
    ("key", "stores", "able", "refused"),
    [
        ("k1", (), Able("memory", HERE, keys=("k2", "k1")), None),
        ("k1", (), Able("memory", HERE, keys=("k2",)), "key k1"),
        ("k1", (), Able("memory", HERE, keys=()), "key k1"),
        ("k1", (), Able("memory", HERE, keys=None), None),
        ("", (), Able("memory", HERE, keys=("k1",)), None),
        ("", ("s3://b/p",), Able("memory", HERE, stores=("gs://x", "s3://b/p")), None),
        ("", ("s3://b/p", "s3://c/p"), Able("memory", HERE, stores=("s3://c/p",)), None),
        ("", ("s3://b/p",), Able("memory", HERE, stores=("s3://b/q",)), "s3://b/p"),
        ("", ("s3://b/p",), Able("memory", HERE, stores=()), "s3://b/p"),
        ("", ("s3://b/p",), Able("memory", HERE, stores=None), None),
        ("", ("s3://b/p", "http://n1:1"), Able("memory", HERE, stores=()), None),
        ("", ("https://n1:1",), Able("memory", HERE, stores=()), None),
    ],
)
def test_what_cannot_be_read_is_of_no_use_on_any_rung(
    key: str, stores: tuple[str, ...], able: Able, refused: str | None
) -> None:
    saved = replace(ref(1), key=key, **({"location": stores} if stores else {}))  # type: ignore[arg-type]
    why = refusal(saved_as(saved), able)
    assert (why is None) == (refused is None)
    assert (refused or "") in (why or "")
    expected = [] if refused else [Way(saved, "memory"), Way(saved, "files")]
    assert ways([saved], able=able, mode=AUTO) == expected
    files = replace(saved, rung="files")
    assert (refusal(saved_as(files), able) is None) == (refused is None)


def test_the_key_is_not_part_of_which_checkpoint_it_is() -> None:
    assert replace(ref(1), key="k1") == ref(1)
