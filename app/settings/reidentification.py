"""The way back: how much one caller may look up, approvals and emergencies."""

from pydantic import BaseModel, Field


class ReidentificationSettings(BaseModel):
    """Quotas of looks, and how long an approval waits and holds."""

    reidentify_per_hour: int = Field(
        300,
        ge=0,
        description="Most patients that one caller looks up in an hour, in all processes together; "
        "an organisation may set its own; 0 for no bound.",
    )
    reidentify_per_day: int = Field(2000, ge=0, description="The same for a day; 0 for no bound.")
    reidentify_batch_max: int = Field(
        100, ge=1, le=1000, description="Most questions of one worklist."
    )
    break_glass_per_day: int = Field(
        20,
        ge=0,
        description="Most emergencies of one caller in a day, counted apart; 0 for no bound.",
    )
    break_glass_url: str | None = Field(
        None,
        description="Address that is told of every emergency at once, signed like callbacks; "
        "https, in development http to this machine as well.",
    )
    approval_pending_s: float = Field(
        86_400.0,
        ge=60,
        description="Time that a request for approval waits for a second person, in seconds.",
    )
    approval_valid_s: float = Field(
        900.0,
        ge=10,
        le=86_400,
        description="Time after the approval in which the answer can be had, in seconds.",
    )
