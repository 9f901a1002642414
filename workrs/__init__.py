"""What every Workrs program must agree on: rules, wire formats, ports and their adapters."""

__version__ = "0.1.0"
