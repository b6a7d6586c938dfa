"""How many processes keep this machine busy, as far as this process may use it."""

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MOST: Final = 64
CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Count the cores that the scheduler and the container leave to this process.

    Args:
        quota: the control group's file: microseconds per period, or ``max``, and the period.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    with suppress(OSError, ValueError, ZeroDivisionError):
        allowed, period = quota.read_text(encoding="ascii").split()
        count = min(count, math.ceil(int(allowed) / int(period)))
    return max(1, min(MOST, count))
