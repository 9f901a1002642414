"""Topics and JSON formats: what travels over the bus, and nothing about how."""
