"""``deid-gateway db dump`` and ``db restore``: the whole database in one file, without any key.

PostgreSQL's own pg_dump and pg_restore do it; which ones, and with what, is decided here.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app import errors
from app.db.installation import installation_of_wheel
from app.db.session import database_errors

# Users and their rights belong to a server, not to the data: ``db grant`` gives them anew.
_PLAIN: Final = ("--no-owner", "--no-privileges")


def dump(url: str, file: Path, *, is_embedded: bool) -> None:
    """Write the database into a file for its owner alone; it appears whole or not at all.

    Raises:
        errors.Misconfigured: there is no pg_dump, it fails, or the file is there already.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        try:
            arguments = ["--format=custom", f"--file={part}", *_PLAIN]
            _run("pg_dump", url, arguments, is_embedded=is_embedded)
            os.link(part, file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise errors.Misconfigured(f"{file} cannot be written ({error.strerror})") from None


def restore(url: str, file: Path, *, is_embedded: bool) -> None:
    """Fill an empty database from a file, wholly or not at all.

    Raises:
        errors.Misconfigured: the database is not empty, or the file is not such a dump.
        errors.DatabaseUnavailable: PostgreSQL does not answer.
    """
    with database_errors(), psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass('public.alembic_version')").fetchone()
    if found != (None,):
        raise errors.Misconfigured("the database is not empty; restore into a new one")
    arguments = ["--exit-on-error", "--single-transaction", *_PLAIN, str(file)]
    _run("pg_restore", url, arguments, is_embedded=is_embedded)


def _run(program: str, url: str, arguments: list[str], *, is_embedded: bool) -> None:
    """Run a program; what it says may quote data and is not repeated.

    One that is older than the server or the file refuses; then the next one is tried.
    """
    code = 0
    with _connected(url) as (conninfo, environment):
        for path in _found(program, is_embedded=is_embedded):
            done = subprocess.run(  # noqa: S603 - all parts of the command are made here
                [path, f"--dbname={conninfo}", *arguments],
                env=environment,
                capture_output=True,
                check=False,
            )
            code = done.returncode
            if code == 0:
                return
    raise errors.Misconfigured(
        f"{program} fails (exit code {code}): it needs rights to every table, room, and "
        "a version that is no older than the server"
    )


@contextmanager
def _connected(url: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Lend the address without its password, and an environment with it: others see commands."""
    parts = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    password = parts.pop("password", None)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    yield make_conninfo("", **parts), environment


def _found(program: str, *, is_embedded: bool) -> list[str]:
    """Return the program that came with the gateway; for another server that on the path first."""
    own = str(installation_of_wheel() / "bin" / program)
    on_path = None if is_embedded else shutil.which(program)
    return [own] if on_path is None else [on_path, own]
