"""The profile engine of PS3.15 Annex E: pure, without I/O, clock, randomness or log."""
