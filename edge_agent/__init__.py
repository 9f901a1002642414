"""The edge agent: claims jobs, runs and checkpoints their programs, proposes outcomes."""
