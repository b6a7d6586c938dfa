"""Memory that the machine really has: what a virtual machine has not touched is made when it is.

A host takes back what its guest does not use and gives it again page by page. Filling the page
cache then costs up to twice as much for the first who does it, and nothing for the next.
"""

import mmap
from pathlib import Path


def touch(size: int) -> None:
    """Use that much free memory once, or all that is free, and give it back.

    Args:
        size: in bytes.
    """
    found = Path("/proc/meminfo").read_text(encoding="ascii")
    free_kib = next(int(line.split()[1]) for line in found.splitlines() if "MemFree" in line)
    wanted = min(size, free_kib * 1024 * 9 // 10) // mmap.PAGESIZE * mmap.PAGESIZE
    if wanted > 0:
        with mmap.mmap(-1, wanted, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory[:: mmap.PAGESIZE] = bytes(wanted // mmap.PAGESIZE)
