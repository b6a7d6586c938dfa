import asyncio
import logging
import traceback

import psycopg
import pytest
from sqlalchemy import text

from app.db.session import POOLED_IDLE_TIMEOUT_MS, Database, create_engine, database_errors
from app.errors import DatabaseUnavailable, Misconfigured
from app.settings import Settings

PLANTED = "DOE^JANE"


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/base", "sqlite://", "http://[x"])
def test_another_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        create_engine(url)

    assert not url or url not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
@pytest.mark.db
async def test_every_usual_scheme_connects(database_url: str, scheme: str) -> None:
    database = Database(database_url.replace("postgresql", scheme, 1))

    assert await database.is_ready()
    connection = await database.connect()
    await connection.close()
    await database.close()


async def test_a_server_that_is_not_there_is_not_ready(tmp_path) -> None:
    database = Database(f"postgresql://nobody@/base?host={tmp_path}")

    assert not await database.is_ready()
    with pytest.raises(DatabaseUnavailable), database_errors():
        await database.connect()
    await database.close()


@pytest.mark.db
async def test_what_the_driver_quotes_never_leaves(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE planted (name text PRIMARY KEY)")
    database = Database(database_url)
    insert = text("INSERT INTO planted VALUES (:name)")

    async def plant() -> None:
        with database_errors():
            async with database.engine.begin() as connection:
                await connection.execute(insert, {"name": PLANTED})

    await plant()
    with pytest.raises(DatabaseUnavailable) as caught:
        await plant()
    await database.close()

    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "23505" in str(caught.value)
    assert PLANTED not in shown


@pytest.mark.db
async def test_options_of_the_url_are_kept_beside_ours(database_url: str) -> None:
    database = Database(f"{database_url}&options=-c%20work_mem%3D7MB")

    async with database.engine.connect() as connection:
        pooled = await connection.execute(text("SHOW work_mem"))
        limit = await connection.execute(text("SHOW lock_timeout"))
    raw = await database.connect()
    shown = await (await raw.execute("SHOW work_mem")).fetchone()
    await raw.close()
    await database.close()

    assert (pooled.scalar_one(), shown, limit.scalar_one()) == ("7MB", ("7MB",), "5s")


@pytest.mark.db
async def test_what_a_frozen_process_locked_is_free_before_a_worker_counts_as_lost(
    database_url: str,
) -> None:
    asked = "SHOW idle_in_transaction_session_timeout"
    database = Database(database_url)

    async with database.engine.connect() as connection:
        pooled = (await connection.execute(text(asked))).scalar_one()
    raw = await database.connect()
    paging = await (await raw.execute(asked)).fetchone()
    await raw.close()
    await database.close()

    assert (pooled, paging) == ("8s", ("30s",))
    assert 1000 * Settings.model_fields["worker_lost_after_s"].default > POOLED_IDLE_TIMEOUT_MS


@pytest.mark.db
async def test_what_the_url_says_of_frozen_processes_wins(database_url: str) -> None:
    option = "options=-c%20idle_in_transaction_session_timeout%3D2s"
    database = Database(f"{database_url}&{option}")

    async with database.engine.connect() as connection:
        found = await connection.execute(text("SHOW idle_in_transaction_session_timeout"))
        shown = found.scalar_one()
    await database.close()

    assert shown == "2s"


@pytest.mark.db
async def test_who_is_late_gets_no_connection(database_url: str) -> None:
    database = Database(database_url)
    assert await database.is_ready()

    await database.close()

    assert not await database.is_ready()
    with pytest.raises(DatabaseUnavailable), database_errors():
        await database.connect()


@pytest.mark.db
async def test_who_is_cancelled_while_committing_leaves_no_connection_open(
    database_url: str,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as hand:
        hand.execute("CREATE TABLE slow (n int)")
        hand.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
        )
        hand.execute(
            "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON slow"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        database = Database(database_url)
        connection = await database.connect()

        async def write() -> None:
            async with connection:
                await connection.execute("INSERT INTO slow VALUES (1)")

        writing = asyncio.create_task(write())
        async with asyncio.timeout(30):
            while not hand.execute(_COMMITTING).fetchone():  # noqa: ASYNC110 - in the server
                await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    assert connection.closed
    await database.close()


_COMMITTING = "SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"
