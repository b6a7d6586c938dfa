"""``deid-gateway serve``: its options. The serving itself is in ``serving``."""

from pathlib import Path
from typing import Any

import click

from app.cli.options import load_settings
from app.settings.service import Role


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
    "--tls-certificate",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificate chain, PEM: speak TLS (DEID_TLS_CERTIFICATE_FILE).",
)
@click.option(
    "--tls-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Its private key, PEM, mode 0600 (DEID_TLS_KEY_FILE).",
)
@click.option(
    "--tls-client-ca",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Let in only who shows a certificate of these authorities (DEID_TLS_CLIENT_CA_FILE).",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of keys, database and spool (DEID_DATA_DIR; default ./data).",
)
def serve(
    roles: tuple[str, ...],
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    **given: Any,  # noqa: ANN401 - fields of Settings by their own names
) -> None:
    """Start the gateway and keep it running until it is told to stop."""
    settings = load_settings(
        roles=frozenset(roles) or None,
        tls_certificate_file=tls_certificate,
        tls_key_file=tls_key,
        tls_client_ca_file=tls_client_ca,
        **given,
    )
    from app.cli.serving import run  # noqa: PLC0415 - wrong usage is told before much is loaded

    run(settings)
