"""The far side of a worker process: told over pipes what to do, it says how long it took.

Imported by the project's interpreter and by the peers' alike, so it needs the library alone.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Work = Callable[[Sequence[str], str], Any]


def peak_kib(pid: int | str = "self") -> int:
    """Return the most memory that a process ever had resident, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def serve(work: Work) -> None:
    """Answer jobs (``{"files": […], "out": DIR}``) until the pipe is closed.

    What the work prints goes to standard error: standard output carries the answers.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        cpu, started = time.process_time(), time.perf_counter()
        said = work(job["files"], job["out"])
        answer = {
            "seconds": time.perf_counter() - started,
            "cpu_s": time.process_time() - cpu,
            "peak_kib": peak_kib(),
            "said": said,
        }
        print(json.dumps(answer), file=answers, flush=True)
