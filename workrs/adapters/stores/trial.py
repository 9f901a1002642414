"""Trying a store before anything depends on it."""

import secrets

from workrs.domain.ids import Epoch, JobId
from workrs.domain.job import digest_of
from workrs.ports.store import JobSpace, SharedStore

_DATA = b"workrs was here\n"


async def try_store(store: SharedStore) -> None:
    """Write a blob, read it and delete it again, as no job's.

    Raises:
        StoreError: the store does not do that; the text says what to see to.
    """
    space = JobSpace(job=JobId(f"workrs_{secrets.token_hex(8)}"), epoch=Epoch(0))
    name = digest_of(_DATA)
    await store.put(name, _DATA, space)
    await store.get(name, space)
    await store.drop(space.job)
