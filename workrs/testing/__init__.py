"""Verified fakes: they pass the same contract tests as the real parts."""
