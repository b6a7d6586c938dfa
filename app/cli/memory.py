"""How a long-running process keeps its memory: allocator and garbage collector."""

import ctypes
import gc
from typing import Final

# <malloc.h>; the same as MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ in the environment.
M_TRIM_THRESHOLD: Final = -1
M_ARENA_MAX: Final = -8
M_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 256 << 20
# Objects live as long as the process or as short as a request: look for cycles seldom.
GC_THRESHOLDS: Final = (50_000, 20, 50)


def keep_memory_of_bodies() -> None:
    """Let glibc keep the memory of one body for the next instead of faulting it in anew."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such thresholds
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        # One pool for all threads: they take turns anyway, and each pool keeps memory of its own.
        mallopt(M_ARENA_MAX, 1)


def settle() -> None:
    """Take what start-up made out of the collector's sight, and let it look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
