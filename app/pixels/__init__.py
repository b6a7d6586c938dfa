"""Pixels: what is burned in, where it is masked, and what is held back for people."""
