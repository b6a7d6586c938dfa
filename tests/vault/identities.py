"""Whose a study is, read from the tables with the private key: what a test compares with."""

from app.vault.rows import identity_name
from app.vault.sealing import Opener, SealedDataKey
from tests.mapping_house import NORTH, MappingHouse

STORED = """
SELECT i.lookup, i.sealed, k.id, k.key_version, k.sealed AS sealed_key
FROM study_identities AS i JOIN data_keys AS k ON k.id = i.data_key
JOIN organizations AS o ON o.number = i.organization
WHERE i.cloud_study_id = %s AND o.id = %s ORDER BY i.first_seen_at DESC
"""


def patients_of(house: MappingHouse, cloud_study_id: str, organization: str = NORTH) -> list[str]:
    """The Patient IDs under which a study came, the one received last first."""
    opener = Opener(house.pair.private)
    return [
        opener.open(
            SealedDataKey(row["id"], organization, row["key_version"], row["sealed_key"]),
            row["sealed"],
            table="study_identities",
            pseudonym=identity_name(cloud_study_id, row["lookup"]),
        )[0]
        for row in house.query(STORED, cloud_study_id, organization)
    ]
