"""Goal: the simulator damages what is damaged already, too. Method: all kinds, repeatedly."""

from itertools import product

from workrs.domain.ids import Digest, JobId
from workrs.domain.job import digest_of
from workrs.testing.simulator.blob import BlobStore, Saved, decode


def test_a_checkpoint_of_which_little_is_left_can_be_damaged_again() -> None:
    saved = Saved(job=JobId("d_j"), epoch=1, seq=1, done_s=0.5, agent="a1/1")
    key = (saved.job, Digest(digest_of(saved.encode())))
    for kinds in product(("truncated", "flipped", "swapped"), repeat=3):
        store = BlobStore()
        store.blobs[key] = saved.encode()
        for kind in (*("truncated",) * 8, *kinds):
            store.damage(key, kind)
            assert decode(store.blobs[key]) != saved
