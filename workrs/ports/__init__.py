"""Protocols between the programs and the world. Each docstring states the obligations."""
