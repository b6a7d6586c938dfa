"""Fixtures that more than one package needs: database server, fresh databases, validator."""

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from app.db.embedded import EmbeddedPostgres

TEMPLATE = "migrated_template"
TEMPLATE_LOCK = 4_107_001
RUN_DIRECTORY = pytest.StashKey[Path]()

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("deep", parent=settings.get_profile("ci"), max_examples=5000)
settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Give all workers of a run one directory; only the process that made it removes it."""
    given = getattr(config, "workerinput", {}).get("run_directory")
    if given is None:
        # Short, and open to the server's unprivileged user when the tests run as root.
        made = Path(tempfile.mkdtemp(prefix="deid-tests-", dir="/tmp"))
        made.chmod(0o755)
        config.add_cleanup(lambda: shutil.rmtree(made, ignore_errors=True))
        given = str(made)
    config.stash[RUN_DIRECTORY] = Path(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    node.workerinput["run_directory"] = str(node.config.stash[RUN_DIRECTORY])


@pytest.fixture(scope="session")
def run_directory(request: pytest.FixtureRequest) -> Path:
    """A directory with a short path that every user of the machine may enter."""
    return request.config.stash[RUN_DIRECTORY]


@pytest.fixture
def reachable_path(run_directory: Path) -> Path:
    """Like tmp_path, but an unprivileged server can live in it when the tests run as root."""
    made = Path(tempfile.mkdtemp(dir=run_directory))
    made.chmod(0o755)
    return made


@pytest.fixture(scope="session")
def embedded_postgres(run_directory: Path) -> Iterator[EmbeddedPostgres]:
    """The one server of this run: every worker holds a lease, the last one to leave ends it."""
    server = EmbeddedPostgres(
        run_directory / "postgres", fsync=False, reachable_dir=run_directory / "reachable"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_url(embedded_postgres: EmbeddedPostgres) -> str:
    """The URL of an empty maintenance database; make your own database in it."""
    return embedded_postgres.url("postgres")


@pytest.fixture(scope="session")
def fresh_database(embedded_postgres: EmbeddedPostgres) -> Callable[[], object]:
    """A context manager that lends a migrated database of its own, about 30 ms each."""

    @contextmanager
    def lend(*, migrated: bool = True) -> Iterator[str]:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(embedded_postgres.url("postgres"), autocommit=True) as connection:
            source = _template(embedded_postgres, connection) if migrated else "template1"
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(source)))
        yield embedded_postgres.url(name)
        with psycopg.connect(embedded_postgres.url("postgres"), autocommit=True) as connection:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))

    return lend


@pytest.fixture
def database_url(fresh_database) -> Iterator[str]:
    """The URL of a migrated, empty database that this test alone uses."""
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(fresh_database) -> Iterator[str]:
    """The URL of a migrated database that the tests of one module share."""
    with fresh_database() as url:
        yield url


@pytest.fixture
def empty_database_url(fresh_database) -> Iterator[str]:
    """The URL of a database before its first migration."""
    with fresh_database(migrated=False) as url:
        yield url


def _template(server: EmbeddedPostgres, connection: psycopg.Connection) -> str:
    """Migrate one database per run; whoever comes first does it, the others wait."""
    connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
    try:
        known = "SELECT FROM pg_database WHERE datname = %s"
        if connection.execute(known, [TEMPLATE]).fetchone() is None:
            raw = f"{TEMPLATE}_{uuid4().hex}"
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(raw)))
            _migrate(server.url(raw))
            rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            connection.execute(rename.format(sql.Identifier(raw), sql.Identifier(TEMPLATE)))
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [TEMPLATE_LOCK])
    return TEMPLATE


def _migrate(url: str) -> None:
    from app.db.migrate import upgrade  # noqa: PLC0415 - most tests need no migrations

    def run() -> None:
        done = upgrade(url)
        if inspect.isawaitable(done):
            asyncio.run(_finish(done))

    with ThreadPoolExecutor(1) as thread:  # a loop may be running here already
        thread.submit(run).result()


async def _finish(awaitable) -> None:
    await awaitable


@pytest.fixture(scope="session")
def dciodvfy() -> Callable[[Path], list[str]]:
    """The outside validator of Debian's dicom3tools: path of an object -> its error lines."""
    from tools import debian_tools  # noqa: PLC0415 - only the tests that validate need it

    if not debian_tools.is_available():
        pytest.skip("dciodvfy comes from Debian's dicom3tools, and there is no apt-get here")
    tool = debian_tools.provide("dicom3tools", "dciodvfy")

    def validate(path: Path) -> list[str]:
        lines = tool.run(str(path)).stderr.splitlines()
        return [line for line in lines if line.startswith("Error")]

    return validate
