"""Measures the gateway beside ``cp`` and other tools, in one run, as ratios: ``python -m bench``.

Nothing here is part of the program, and nothing here is a test of what is right.
"""
