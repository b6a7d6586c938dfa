"""``deid-gateway worker``: its options. What is done is in ``supervising`` and ``working``."""

from pathlib import Path

import click

from app.cli.cores import usable_cores
from app.cli.options import load_settings


@click.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="Processes to run; default one for each core that this process may use.",
)
@click.option("--once", is_flag=True, help="End when no work is left.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of keys, database and staging area (DEID_DATA_DIR; default ./data).",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer GET /metrics on this TCP port, without a key; 0 takes a free one, and logs it.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    help="Address of --metrics-port.",
)
@click.option("--one", is_flag=True, hidden=True)
def worker(
    *,
    concurrency: int | None,
    once: bool,
    data_dir: Path | None,
    metrics_port: int | None,
    metrics_host: str,
    one: bool,
) -> None:
    """Work on batches, until told to stop.

    Takes what is due by priority and turn, wherever it was handed in. Killed at any moment, it
    loses nothing: others go on where it stood.
    """
    if one:
        _be_one()
        return
    settings = load_settings(data_dir=data_dir)
    from app.cli.supervising import run  # noqa: PLC0415 - wrong usage is told before much is loaded

    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    run(settings, count=concurrency or usable_cores(), once=once, metrics=metrics)


def _be_one() -> None:
    """Be one of the processes that this command, ``serve`` or ``batch`` started."""
    from app.cli.lifeline import Lifeline  # noqa: PLC0415 - held before anything takes time

    lifeline = Lifeline()
    settings = lifeline.take_order()
    if settings is not None:
        from app.cli.working import run  # noqa: PLC0415 - as above

        run(settings, lifeline)
