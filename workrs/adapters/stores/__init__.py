"""Clients of the places where blobs are kept: nodes, shared folders, S3, GCS and Azure."""

from workrs.adapters.stores.address import StoreAddress, store_address
from workrs.adapters.stores.opener import Stores

__all__ = ["StoreAddress", "Stores", "store_address"]
