"""The audit: when its chains are sealed, and who receives them."""

from pathlib import Path

from pydantic import BaseModel, Field


class AuditSettings(BaseModel):
    """Checkpoints of the audit and its receivers."""

    audit_checkpoint_s: float = Field(
        300.0,
        ge=1,
        description="Age of its last signed checkpoint at which a chain with new rows is sealed "
        "again, in seconds.",
    )
    audit_checkpoint_rows: int = Field(
        10_000, ge=1, description="New rows at which a chain is sealed earlier than that."
    )
    audit_checkpoint_to: str | None = Field(
        None,
        description="Directory or URL of an object store (s3://bucket/prefix) that signed "
        "checkpoints are written to as well.",
    )
    audit_syslog: str | None = Field(
        None,
        description="Syslog receiver of DICOM audit messages, tls://host:6514; served by "
        "processes with the role audit.",
    )
    audit_syslog_ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) that the receiver is trusted by; without it those of the "
        "system.",
    )
    audit_syslog_certificate_file: Path | None = Field(
        None, description="Certificate (PEM) that is shown to the receiver."
    )
    audit_syslog_key_file: Path | None = Field(
        None, description="Private key (PEM, without a password) of that certificate."
    )
