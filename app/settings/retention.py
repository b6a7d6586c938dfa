"""How often what is older than it may be is destroyed; how old that is, organisations say."""

from pydantic import BaseModel, Field


class RetentionSettings(BaseModel):
    """When retention is looked after."""

    retention_every_s: float = Field(
        3600.0,
        ge=1,
        description="How often a process of the role admin destroys originals that are older than "
        "their organisation keeps them, in seconds.",
    )
