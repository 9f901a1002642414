"""When a credential ends, in time for somebody to renew it.

Not promised: that the file's word is the certificate's. It is written from it, for humans.
"""

from datetime import date
from typing import Final

from workrs.trust.credential import Credential

WARN_DAYS: Final = 30


def ending(credential: Credential, today: date) -> str:
    """Return `ends DATE, in N days` or `ended DATE`; empty: not for `WARN_DAYS`, or never."""
    try:
        last = date.fromisoformat(credential.valid_until_wall)
    except ValueError:
        return ""  # a password
    left_days = (last - today).days
    if left_days < 0:
        return f"ended {last}"
    if left_days > WARN_DAYS:
        return ""
    return f"ends {last}, in {left_days} days"


def renewal(credential: Credential) -> str:
    """Return what to type for a new one, where the cluster's directory is."""
    return f"workrs enrol {credential.kind.value} {credential.name} --cluster DIR --renew"
