"""Checkpoints: snapshots of programs, verified, in the nodes' blob stores.

`save` packs and uploads one, `load` fetches and unpacks one, `discard` deletes one. What a
snapshot is, and how it is taken and restored, is the runtimes' business.
"""

from edge_agent.checkpoint.discard import discard
from edge_agent.checkpoint.load import load, size_limit
from edge_agent.checkpoint.save import Saved, save

__all__ = ["Saved", "discard", "load", "save", "size_limit"]
