"""What a thief has who takes one thing: the database, a key file, the right to write rows."""

import hashlib
import json
import os
from collections.abc import Iterator

import httpx
import psycopg
from psycopg import sql

from app.vault.keys import load_keys
from app.vault.pseudonyms import Pseudonyms
from app.vault.rows import LOOKUP_BYTES
from tests.api.conftest import WHO, House

UIDS = ("1.2.826.0.1.3680043.10.998.1",)
WHY = {"purpose": "TREAT", "reference": "TICKET-1"}


async def sent(client: httpx.AsyncClient, house: House, instance: bytes) -> str:
    headers = {"Content-Type": "application/dicom"} | await house.headers("sender")
    answer = await client.post("/anonymize-stream", content=instance, headers=headers)
    assert answer.status_code == 200
    return answer.headers["X-Cloud-Study-Id"]


def everything(url: str) -> Iterator[bytes]:
    """Every value of every row of every table, as text or as the bytes that it is."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(
                sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
            )
            for row in rows:
                for value in row:
                    yield bytes(value) if isinstance(value, bytes) else str(value).encode()


def hashes(value: str) -> Iterator[bytes]:
    for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        digest = hashlib.new(name, value.encode()).digest()
        yield digest
        yield digest.hex().encode()


async def test_a_stolen_database_holds_no_original_and_no_plain_hash_of_one(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await sent(client, house, instance)

    stolen = list(everything(house.url))

    originals = [*WHO.texts, *UIDS]
    sought = [text.encode() for text in originals]
    sought += [digest for text in originals for digest in hashes(text)]
    assert len(stolen) > 50
    assert not [text for text in sought if any(text in value for value in stolen)]


async def test_without_the_key_file_no_guess_can_be_tested(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    """With it a guess can be: equal inputs have to give equal pseudonyms."""
    await sent(client, house, instance)
    with psycopg.connect(house.url) as connection:
        stolen = {
            bytes(lookup)
            for table in ("subjects", "studies", "study_identities", "series", "instances")
            for (lookup,) in connection.execute(f"SELECT lookup FROM {table}")
        }
        study = connection.execute("SELECT cloud_study_id FROM studies").fetchone()

    held = load_keys(house.gateway.settings.key_path)
    real = Pseudonyms(held.organization_root("DEMO"), "DEMO")
    wrong = Pseudonyms(os.urandom(32), "DEMO")

    assert study == (real.cloud_study_id(UIDS[0]),)
    assert study != (wrong.cloud_study_id(UIDS[0]),)
    assert real.lookup("study", UIDS[0])[:LOOKUP_BYTES] in stolen
    assert wrong.lookup("study", UIDS[0])[:LOOKUP_BYTES] not in stolen


async def test_the_private_key_file_names_nobody_and_makes_no_pseudonym(house: House) -> None:
    settings = house.gateway.settings
    stolen = json.loads(settings.reidentify_key_path.read_text())
    root = json.loads(settings.key_path.read_text())["pseudonym_root"]

    assert set(stolen) == {"version", "sealing_private_keys"}
    assert root not in settings.reidentify_key_path.read_text()


async def test_who_may_write_rows_can_make_a_key_and_its_use_is_recorded(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    """This is a limit, not a defence: whoever owns the database can call the service."""
    study = await sent(client, house, instance)
    made = json.dumps(
        {
            "id": "aaaaaaaa",
            "name": "visitor",
            "secret_hash": "\\x" + hashlib.sha256(b"A" * 43).hexdigest(),
        }
    )
    with psycopg.connect(house.url) as connection:
        connection.execute(
            "INSERT INTO api_keys SELECT (jsonb_populate_record(k, %s::jsonb)).*"
            " FROM api_keys AS k WHERE k.name = 'sender'",
            [made],
        )

    answer = await client.get(
        "/reidentify",
        params={"cloud_study_id": study} | WHY,
        headers={"Authorization": "Bearer dgw_aaaaaaaa_" + "A" * 43},
    )

    looks = [row for row in house.audit() if row["action"] == "reidentify"]
    assert answer.status_code == 200
    assert [(row["actor"], row["api_key_id"], row["outcome"]) for row in looks] == [
        ("visitor", "aaaaaaaa", "success")
    ]
