"""The database."""

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator


class DatabaseSettings(BaseModel):
    """Which PostgreSQL is used, and how much of it."""

    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("database_url", "DATABASE_URL"),
        description="PostgreSQL of your own; without it the embedded server is started.",
    )
    database_pool_size: int = Field(
        8, ge=1, le=200, description="Most connections to PostgreSQL that one process holds."
    )

    @field_validator("database_url")
    @classmethod
    def _postgres_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            scheme = value.get_secret_value().partition("://")[0]
            if scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
                raise ValueError("must start with postgresql://")
        return value
