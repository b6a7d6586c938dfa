"""Bodies of requests: how large they may be, where they are kept, how many come at once."""

from pathlib import Path

from pydantic import Field

from app.settings.service import ServiceSettings
from app.settings.sizes import GIB, MIB


class BodySettings(ServiceSettings):
    """How bodies are taken."""

    max_body_bytes: int = Field(
        4 * GIB, ge=1024, description="Largest body that is accepted, in bytes."
    )
    memory_body_bytes: int = Field(
        8 * MIB,
        ge=0,
        description="Bodies up to this many bytes stay in memory, others are spooled.",
    )
    inline_body_bytes: int = Field(
        MIB,
        ge=0,
        description="Bodies up to this many bytes are treated in the event loop, others in a "
        "thread.",
    )
    spool_dir: Path | None = Field(
        None,
        description="Private directory of the nameless spool files; default spool in data_dir.",
    )
    body_idle_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Longest pause between two parts of a body or of its answer, in seconds.",
    )
    min_bytes_per_s: int = Field(
        1024,
        ge=0,
        description="Slowest sender of a body or reader of an answer that is borne for longer "
        "than that pause.",
    )
    max_concurrent_uploads: int = Field(
        64, ge=1, description="Uploads that are taken at once; further ones wait."
    )
    max_waiting_uploads: int = Field(
        256, ge=0, description="Uploads that wait for that; further ones hear 503."
    )

    @property
    def spool_path(self) -> Path:
        """The directory of the spool files."""
        return self.spool_dir or self.data_dir / "spool"
