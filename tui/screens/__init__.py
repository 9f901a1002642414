"""Whole screens: what is where, and which keys do what."""
