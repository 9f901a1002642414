"""Says in a program's log, once a day, that its credential ends soon."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from workrs.adapters import log
from workrs.trust.credential import CredentialError, load_credential
from workrs.trust.expiry import ending, renewal

_LOOK_S: Final = 24 * 3600.0


async def watch_expiry(path: Path, name: str) -> None:
    """Look at the credential in *path* now and each day; log as *name*. Runs until cancelled."""
    told = log.get(name)
    while True:
        try:
            credential = load_credential(path)
        except CredentialError as error:
            told.warning("credential_unreadable", why=str(error))
        else:
            today = datetime.now(tz=UTC).date()  # noqa: TID251 (certificates end by the real clock)
            if found := ending(credential, today):
                told.warning("credential_ends", why=found, renew=renewal(credential))
        await asyncio.sleep(_LOOK_S)
