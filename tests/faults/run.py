"""The long form: gateway and Postgres are killed, stopped and suspended at random, under load.

``python -m tests.faults.run --seconds 120`` prints what became of every request.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
from tests.batches.test_kill import free_port
from tests.db.test_embedded import postmaster_pid
from tests.faults.driver import Driver, check, lost, nothing_original_in
from tests.faults.gateway import Gateway
from tests.faults.test_killing import STEPS


async def strike(victim: str, gateway: Gateway, server: EmbeddedPostgres, longest_s: float) -> None:
    """Do one harm."""
    if victim == "postgres-killed":
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(postmaster_pid(server), signal.SIGKILL)
    elif victim == "gateway-suspended":
        with suppress(ProcessLookupError):
            os.kill(gateway.starts[-1], signal.SIGSTOP)
            await asyncio.sleep(longest_s)
            os.kill(gateway.starts[-1], signal.SIGCONT)
    else:
        with suppress(ProcessLookupError):
            os.kill(gateway.starts[-1], signal.SIGKILL)
        await asyncio.to_thread(gateway.next_start)


async def run(directory: Path, seconds: float, seed: int) -> Driver:
    """Let harm be done for so long, then let everybody be answered."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    server = EmbeddedPostgres(directory / "pg", reachable_dir=directory / "reachable")
    kept = KeptPostgres(server, look_every_s=0.05)
    url = await asyncio.to_thread(kept.start)
    places = [place for place in STEPS.values() for _ in range(200)]
    dice.shuffle(places)
    ambushes = [(place, moment, dice.randint(20, 2000)) for place, moment, _ in places]
    gateway = Gateway(url, directory / "data", free_port(), [None, *ambushes])
    done = dict.fromkeys(("gateway-killed", "postgres-killed", "gateway-suspended"), 0)
    try:
        await asyncio.to_thread(gateway.next_start)
        await gateway.until_ready()
        ends = time.monotonic() + seconds
        with nothing_original_in(gateway.log):
            async with gateway.driver(lanes=8) as driver:
                while time.monotonic() < ends:
                    await asyncio.sleep(dice.uniform(0.2, 3))
                    victim = dice.choice(list(done))
                    done[victim] += 1
                    await strike(victim, gateway, server, dice.uniform(0.1, 1))
                await driver.until_answered(50, within_s=120)
        deaths = gateway.deaths()
        check(driver, url)
        print(f"lost {len(lost(driver.answers, url))}; {done}, {deaths} starts anew")  # noqa: T201
    finally:
        gateway.close()
        await asyncio.to_thread(kept.stop)
    return driver


def main() -> None:
    """Run it in a directory that is gone afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=4711)
    asked = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="deid-faults-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        asyncio.run(run(directory, asked.seconds, asked.seed))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
