"""What is held for review."""

from pathlib import Path

from pydantic import Field

from app.settings.service import ServiceSettings
from app.settings.sizes import GIB


class QuarantineSettings(ServiceSettings):
    """Where objects are held, how many and how long."""

    quarantine_dir: Path | None = Field(
        None,
        description="Private directory of what is held for review, sealed; shared by the processes "
        "that de-identify and those of the role review; default quarantine in data_dir, in "
        "production only for a process that reviews as well: others hold nothing without it.",
    )
    quarantine_max_bytes: int = Field(
        20 * GIB,
        ge=1024,
        description="Most bytes that are held at once; an object that does not fit is refused.",
    )
    quarantine_kept_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days after which what nobody decided about is rejected and destroyed.",
    )

    @property
    def quarantine_path(self) -> Path:
        """Where what is held for review lies, sealed."""
        return self.quarantine_dir or self.data_dir / "quarantine"
