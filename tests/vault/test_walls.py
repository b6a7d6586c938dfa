"""A stolen anonymising process: its keys and its database user open and list nothing."""

from collections.abc import Iterator

import psycopg
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.db.roles import DatabaseRole, ensure_user
from app.errors import KeyUnavailable
from app.vault.keys import GatewayKeys
from app.vault.pseudonyms import Pseudonyms
from app.vault.rows import identity_name
from app.vault.sealing import Opener, SealedDataKey, _row_context
from app.vault.sealing_kems import OpeningKey
from app.vault.workbox import WorkBox
from tests.mapping_house import NORTH, KeyPair, MappingHouse, opened, originals
from tests.vault.identities import patients_of

PASSWORD = "a-password-of-the-tests"
SEALED = [
    ("subjects", "sealed"),
    ("studies", "sealed"),
    ("study_identities", "sealed"),
    ("study_identities", "*"),
    ("series", "sealed"),
    ("instances", "sealed"),
    ("data_keys", "sealed"),
    ("data_keys", "id"),
    ("batches", "sealed_request"),
    ("batch_chunks", "sealed_files"),
    ("batch_items", "sealed_name"),
    ("audit_events", "purpose"),
]


@pytest.fixture
def thief_url(house: MappingHouse) -> Iterator[str]:
    """The database as the anonymising user sees it."""
    name = f"thief_{house.url.partition('/test_')[2][:12]}"
    ensure_user(house.url, DatabaseRole.ANONYMIZE, name=name, password=PASSWORD)
    yield house.url.replace("postgres@", f"{name}:{PASSWORD}@")
    with psycopg.connect(house.url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def every_key(keys: GatewayKeys) -> list[bytes]:
    """All that the anonymising process holds or can derive."""
    pseudonyms = Pseudonyms(keys.organization_root(NORTH), NORTH)
    box = WorkBox(keys)
    return [
        keys.pseudonym_root,
        keys.sealing_public_key,
        keys.organization_root(NORTH),
        *pseudonyms._keys.values(),
        box._derived(1, NORTH, "seal"),
        box._derived(1, NORTH, "hash"),
        *keys.work_keys.values(),
        *keys.signing_seeds.values(),
    ]


@pytest.mark.parametrize(("table", "column"), SEALED)
async def test_the_anonymising_user_lists_nothing_sealed(
    house: MappingHouse, thief_url: str, table: str, column: str
) -> None:
    await house.record(originals())

    with (
        psycopg.connect(thief_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"SELECT {column} FROM {table}")


async def test_the_anonymising_user_de_identifies_all_the_same(
    house: MappingHouse, thief_url: str
) -> None:
    async with opened(thief_url, house.pair, can_open=False, is_new=False) as process:
        replacements = await process.record(originals())

    assert patients_of(house, replacements.cloud_study_id) == ["PAT-4711"]


async def test_no_key_of_an_anonymising_process_opens_even_a_stolen_database(
    house: MappingHouse,
) -> None:
    replacements = await house.record(originals())
    (row,) = house.query(
        "SELECT i.lookup, i.sealed, k.id, k.key_version, k.sealed AS sealed_key"
        " FROM study_identities AS i JOIN data_keys AS k ON k.id = i.data_key"
    )
    stored = SealedDataKey(row["id"], NORTH, row["key_version"], row["sealed_key"])
    name = identity_name(replacements.cloud_study_id, row["lookup"])
    context = _row_context(stored, "study_identities", name)
    held = every_key(house.pair.keys)

    opened_by = []
    for key in held:
        private = OpeningKey(key)
        thief = Opener(type(house.pair.private)({row["key_version"]: key}))
        with pytest.raises(KeyUnavailable):
            thief.open(stored, row["sealed"], table="study_identities", pseudonym=name)
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(row["sealed"][1:13], row["sealed"][13:], context)
        opened_by.append(private.public_bytes == house.pair.keys.sealing_public_key)

    assert len(held) >= 9
    assert not any(opened_by)
    assert patients_of(house, replacements.cloud_study_id) == ["PAT-4711"]


async def test_the_vault_of_an_anonymising_process_opens_nothing(
    house: MappingHouse, pair: KeyPair
) -> None:
    await house.record(originals())
    (row,) = house.query(
        "SELECT k.id, k.key_version, k.sealed AS sealed_key, s.sealed, s.cloud_patient_id"
        " FROM subjects AS s JOIN data_keys AS k ON k.id = s.data_key"
    )
    stored = SealedDataKey(row["id"], NORTH, row["key_version"], row["sealed_key"])

    async with opened(house.url, pair, can_open=False, is_new=False) as process:
        with pytest.raises(KeyUnavailable):
            process.vault.open_text(
                stored, row["sealed"], table="subjects", pseudonym=row["cloud_patient_id"]
            )
