"""Checkpoints: snapshots of programs, verified, in the nodes' blob stores.

`save` packs and uploads one, `load` fetches and unpacks one, `discard` deletes one. What a
snapshot is, and how it is taken and restored, is the runtimes' business.
"""

from edge_agent.checkpoint.base import Base
from edge_agent.checkpoint.discard import discard
from edge_agent.checkpoint.keys import KeyRing, read_keys
from edge_agent.checkpoint.load import load, load_ahead, size_limit
from edge_agent.checkpoint.save import Saved, save
from edge_agent.checkpoint.seal import KeyMissingError
from edge_agent.checkpoint.share import Share

__all__ = [
    "Base",
    "KeyMissingError",
    "KeyRing",
    "Saved",
    "Share",
    "discard",
    "load",
    "load_ahead",
    "read_keys",
    "save",
    "size_limit",
]
