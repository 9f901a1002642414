"""Clients of the places where blobs are kept: the nodes' stores, and shared folders."""

from edge_agent.stores.opener import Stores

__all__ = ["Stores"]
