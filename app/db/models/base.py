"""What tables have in common: their metadata, and columns that several of them have."""

from typing import Final

from sqlalchemy import Column, DateTime, ForeignKey, Integer, LargeBinary, MetaData, func

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def moment(name: str) -> Column[object]:
    """A point in time; the server's clock fills it where nobody says otherwise."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def organization_number(*, primary_key: bool = False) -> Column[int]:
    """Whose row it is, by the organisation's number: four bytes instead of its id."""
    reference = ForeignKey("organizations.number")
    return Column("organization", Integer, reference, primary_key=primary_key, nullable=False)


def sealed(*, nullable: bool = False) -> Column[bytes]:
    """What says nothing to whoever lacks its key."""
    return Column("sealed", LargeBinary, nullable=nullable)
