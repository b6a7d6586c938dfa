"""Mask rules that come with the program."""
