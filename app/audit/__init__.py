"""Who did what, when and with which outcome: append-only, hash-chained. No values of patients."""
