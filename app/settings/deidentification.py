"""What de-identification takes beside the program: profiles, mask rules, child processes, names."""

from pathlib import Path

from pydantic import BaseModel, Field


class DeidentificationSettings(BaseModel):
    """What a site adds to its profiles, and who works on pixels."""

    profiles_dir: Path | None = Field(
        None, description="Directory of further profiles (*.yaml, *.yml, *.json)."
    )
    pixel_rules_dir: Path | None = Field(
        None, description="Directory of mask rules of the site (*.yaml, *.yml, *.json)."
    )
    pixel_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Child processes that mask images and clean documents, beside each process "
        "that de-identifies; started when they are needed.",
    )
    ocr_processes: int = Field(
        1,
        ge=0,
        le=64,
        description="Child processes that read text in images, started when they are needed; "
        "0 for none. Reading needs the extra ocr.",
    )
    pixel_timeout_s: float = Field(
        120.0,
        ge=1,
        description="Time that reading or masking one object may take, up to ten times of it for "
        "large and long images; then it waits for a review.",
    )
    recognizer: Path | None = Field(
        None,
        description="Presidio's configuration of an analyzer (YAML), which then looks for names "
        "and places in text that profiles clean; needs the extra presidio.",
    )
