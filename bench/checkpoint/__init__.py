"""Checkpoints and restores beside their rivals: `python -m bench.checkpoint`."""
