"""The engine: decides and applies. Pure: no I/O, clock, randomness or log."""
