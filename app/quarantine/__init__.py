"""The quarantine: what is held back for people, sealed, and what they decide."""
