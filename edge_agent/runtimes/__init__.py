"""Runtimes: containers of a Docker Engine, and plain processes."""
