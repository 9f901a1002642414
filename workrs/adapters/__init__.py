"""The real parts behind the ports that more than one program uses."""
