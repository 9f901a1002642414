"""Whether a node's disk is older than its peers saw it: then it has forgotten votes.

A ledger counts its starts (`boot`) and its commits (`serial`); both only rise. A node shows
them, with the random part of its incarnation, and every peer shows back the highest it saw.

1. What is shown is on the disk already, so a sound disk is never behind what was seen of it.
2. An older copy of a disk repeats a boot under another nonce, or is behind in boot or serial.

Not promised: that it is found when no peer that saw more is reached, or when all of them lost
the last moments of what they had seen.
"""

from typing import NamedTuple

from workrs.domain.record import Incarnation


class Seen(NamedTuple):
    """The most that a node was seen to have on its disk."""

    boot: int
    """Starts of its daemon."""
    nonce: str
    """Of that start; empty when only a record of it was seen."""
    serial: int
    """Commits of its ledger."""


NOTHING = Seen(0, "", 0)


def merge(known: Seen, shown: Seen) -> Seen:
    """Return the most that *known* and *shown* say together.

    Of two nonces under one boot the first stays: the other start is the copy, as far as
    anybody can tell.
    """
    serial = max(known.serial, shown.serial)
    if shown.boot > known.boot:
        return Seen(shown.boot, shown.nonce, serial)
    if shown.boot == known.boot:
        return Seen(known.boot, known.nonce or shown.nonce, serial)
    return Seen(known.boot, known.nonce, serial)


def is_older(own: Incarnation, serial_at_start: int, serial: int, seen: Seen) -> bool:
    """Return whether this node's disk is older than a peer saw it.

    Args:
        own: this start of the daemon.
        serial_at_start: commits on the disk when it started.
        serial: commits on the disk now.
        seen: the most a peer saw of this node.
    """
    if seen.boot != own.number:
        # Of an earlier start, so all of it was on the disk before this one.
        return seen.boot > own.number or seen.serial > serial_at_start
    return seen.nonce not in ("", own.nonce) or seen.serial > serial
