"""Memory that the machine really has: what a virtual machine has not touched is made when it is.

A host takes back what its guest does not use and gives it again page by page. Filling the page
cache then costs up to twice as much for the first who does it, and nothing for the next.
"""

import mmap
from pathlib import Path


def touch() -> None:
    """Use nearly all free memory once, and give it back."""
    found = Path("/proc/meminfo").read_text(encoding="ascii")
    free_kib = next(int(line.split()[1]) for line in found.splitlines() if "MemFree" in line)
    pages = free_kib * 1024 * 9 // 10 // mmap.PAGESIZE
    if pages:
        size = pages * mmap.PAGESIZE
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory[:: mmap.PAGESIZE] = bytes(pages)
