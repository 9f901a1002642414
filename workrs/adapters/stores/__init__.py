"""Clients of the places where blobs are kept: nodes, shared folders, S3, GCS and Azure."""
