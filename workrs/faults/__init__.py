"""Real faults: the matrix of docs/faults.md against real brokers, nodes, agents, containers."""
