"""Clients of the places where blobs are kept, as agents use them."""

from workrs.adapters.stores import Stores

__all__ = ["Stores"]
