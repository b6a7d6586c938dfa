"""What the record of processing activities says of each organisation: counts and dates only."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from app.db.session import Database, database_errors
from app.vault.erasing_policy import AfterErasure

# One statement for all organisations; tables are counted once each.
_COUNTS: Final = """
SELECT o.id, o.name, o.retention_days, o.after_erasure,
    coalesce(s.n, 0), coalesce(t.n, 0), coalesce(r.n, 0), coalesce(i.n, 0),
    k.oldest, coalesce(d.erased, 0), coalesce(d.expired, 0)
FROM organizations AS o
LEFT JOIN (SELECT organization, count(*) AS n FROM subjects WHERE data_key IS NOT NULL
    GROUP BY 1) AS s ON s.organization = o.number
LEFT JOIN (SELECT organization, count(*) AS n FROM studies WHERE data_key IS NOT NULL
    GROUP BY 1) AS t ON t.organization = o.number
LEFT JOIN (SELECT organization, count(*) AS n FROM series GROUP BY 1) AS r
    ON r.organization = o.number
LEFT JOIN (SELECT organization, count(*) AS n FROM instances GROUP BY 1) AS i
    ON i.organization = o.number
LEFT JOIN (SELECT organization, min(created_at) AS oldest FROM data_keys GROUP BY 1) AS k
    ON k.organization = o.number
LEFT JOIN (SELECT organization, count(erased_at) AS erased, count(expired_at) AS expired
    FROM tombstones GROUP BY 1) AS d ON d.organization = o.number
ORDER BY o.id
"""


@dataclass(frozen=True, slots=True)
class Processing:
    """What is kept for one organisation.

    Attributes:
        patients, studies, series, instances: of whom originals are kept, sealed.
        oldest: day of the oldest original.
        erased_patients: whose originals were destroyed on request.
        expired_patients: of whom originals were destroyed by age.
    """

    organization: str
    name: str
    retention_days: int | None
    after_erasure: AfterErasure
    patients: int
    studies: int
    series: int
    instances: int
    oldest: dt.date | None
    erased_patients: int
    expired_patients: int


async def processing(database: Database) -> list[Processing]:
    """Count for every organisation; reads the whole mapping, which takes seconds per million rows.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    with database_errors():
        connection = await database.connect()
        async with connection:
            await connection.execute("SET statement_timeout = 0")
            rows = await (await connection.execute(_COUNTS)).fetchall()
    return [_processing(*row) for row in rows]


def _processing(*row: object) -> Processing:
    organization, name, days, after, *counts = row
    patients, studies, series, instances, oldest, erased, expired = counts
    return Processing(
        organization=str(organization),
        name=str(name),
        retention_days=days if isinstance(days, int) else None,
        after_erasure=AfterErasure(str(after)),
        patients=int(str(patients)),
        studies=int(str(studies)),
        series=int(str(series)),
        instances=int(str(instances)),
        oldest=oldest.date() if isinstance(oldest, dt.datetime) else None,
        erased_patients=int(str(erased)),
        expired_patients=int(str(expired)),
    )
