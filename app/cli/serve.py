"""``deid-gateway serve``: its options. The serving itself is in ``serving``."""

from pathlib import Path

import click

from app.cli.options import load_settings
from app.settings import Role


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([member.value for member in Role]),
    help="Serve this role; may be given several times (DEID_ROLES; default all).",
)
@click.option("--host", help="Address to listen on (DEID_HOST; default 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (DEID_PORT; default 8000).")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of keys, database and spool (DEID_DATA_DIR; default ./data).",
)
def serve(
    roles: tuple[str, ...], host: str | None, port: int | None, data_dir: Path | None
) -> None:
    """Start the gateway and keep it running until it is told to stop."""
    settings = load_settings(
        roles=frozenset(roles) or None, host=host, port=port, data_dir=data_dir
    )
    from app.cli.serving import run  # noqa: PLC0415 - wrong usage is told before much is loaded

    run(settings)
