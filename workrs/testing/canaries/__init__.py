"""Canaries: the rules that the promises rest on, each of which can be left out for a while.

A rule whose absence no schedule notices is no rule, or the invariants are blind. So each of
them has a canary here: a way to replace the production function by one that lacks just that
rule, a kind of schedules in which the rule matters, and the invariants that must then break.
Production code has no switches; the replacement lasts as long as a `with` block.

    python -m workrs.testing.canaries            which schedule finds what
    python -m workrs.testing.canaries --update   and put it into docs/canaries.md
"""

from workrs.testing.canaries.canary import Canary
from workrs.testing.canaries.of_agent import OF_AGENTS
from workrs.testing.canaries.of_disk import OF_DISKS
from workrs.testing.canaries.of_node import OF_NODES
from workrs.testing.canaries.of_vote import OF_VOTES

CANARIES: tuple[Canary, ...] = (*OF_VOTES, *OF_DISKS, *OF_NODES, *OF_AGENTS)

__all__ = ["CANARIES", "Canary"]
