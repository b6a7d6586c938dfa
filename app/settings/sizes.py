"""Sizes that defaults are written in."""

from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30
