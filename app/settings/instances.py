"""Bounds on one instance."""

from pydantic import BaseModel, Field

from app.settings.sizes import MIB


class InstanceSettings(BaseModel):
    """How large and how deep one instance may be."""

    max_header_bytes: int = Field(
        64 * MIB, ge=1024, description="Largest header (all but pixel data) of one instance."
    )
    max_elements: int = Field(
        1_000_000, ge=1, description="Most elements in one instance, nested ones counted."
    )
    max_depth: int = Field(32, ge=1, le=256, description="Deepest nesting of sequences.")
    max_converted_bytes: int = Field(
        512 * MIB,
        ge=1024,
        description="Largest data set that is inflated or converted (in memory), in bytes.",
    )
