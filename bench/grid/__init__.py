"""The parts of `bench.paper_grid`."""
