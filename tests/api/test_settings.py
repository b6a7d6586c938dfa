"""Settings: what is accepted, what is refused at start, and that no complaint shows a value."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from app import bootstrap, errors, settings
from app.settings import Settings
from app.settings.service import Role


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", *(f"DEID_{field.upper()}" for field in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)


def test_every_setting_has_one_line_of_text_and_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def test_no_group_of_settings_hides_a_name_of_another() -> None:
    groups = [group for group in Settings.__mro__ if group.__module__.startswith("app.settings.")]
    own = Counter(
        name
        for group in groups
        for name in {*vars(group), *group.__annotations__} - {*vars(BaseModel), "model_config"}
        if not name.startswith("__")
    )

    assert set(Settings.model_fields) <= own.keys()
    assert {name: times for name, times in own.items() if times > 1} == {}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_MAX_BODY_BYTES", "2048")
    monkeypatch.setenv("DEID_ROLES", "anonymize, reidentify")

    loaded = settings.load()

    assert loaded.max_body_bytes == 2048
    assert loaded.roles == {Role.ANONYMIZE, Role.REIDENTIFY}


def test_the_command_line_stands_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_PORT", "9001")

    assert settings.load(port=9002, host=None).port == 9002


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")

    assert settings.load().database_url is None


def test_a_mistyped_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_MAX_BODY_BITES", "1")

    with pytest.raises(settings.InvalidSettings, match="unknown setting DEID_MAX_BODY_BITES"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEID_PORT", "planted-secret"),
        ("DEID_ROLES", "planted-secret"),
        ("DEID_ROLES", ","),
        ("DATABASE_URL", "mysql://gateway:planted-secret@host/db"),
        ("DEID_ORGANIZATION", "planted-secret, with a comma"),
    ],
)
def test_a_complaint_names_the_setting_but_not_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(settings.InvalidSettings) as caught:
        settings.load()

    assert name in str(caught.value)
    assert "planted-secret" not in str(caught.value)


def test_production_refuses_a_placeholder_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_MODE", "production")
    monkeypatch.setenv("DATABASE_URL", "postgresql://gateway:changeme@db/gateway")

    with pytest.raises(settings.InvalidSettings, match="placeholder"):
        settings.load()


def test_development_does_not_listen_on_a_network() -> None:
    with pytest.raises(settings.InvalidSettings, match="loopback"):
        settings.load(host="0.0.0.0")  # noqa: S104 - that it is refused is the point


def test_production_listens_where_it_is_told() -> None:
    assert settings.load(host="0.0.0.0", mode="production").is_production  # noqa: S104


def test_the_password_hides_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://gateway:planted-secret@db/gateway")

    assert "planted-secret" not in repr(settings.load())


def test_files_lie_in_the_data_directory_unless_placed_elsewhere(tmp_path: Path) -> None:
    usual = settings.load(data_dir=tmp_path)
    placed = settings.load(data_dir=tmp_path, key_file=Path("/keys/own.json"))

    assert usual.key_path.is_relative_to(tmp_path)
    assert usual.spool_path.is_relative_to(tmp_path)
    assert placed.key_path == Path("/keys/own.json")


def test_a_root_may_be_bound_to_organisations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_SOURCE_ROOTS", "/all:NORD=/north:SUED=/both:NORD=/both:/all=1:X=/all")

    loaded = settings.load()

    assert loaded.roots == tuple(map(Path, ["/all", "/north", "/both", "/all=1"]))
    assert loaded.root_owners == {
        Path("/north"): frozenset({"NORD"}),
        Path("/both"): frozenset({"NORD", "SUED"}),
    }


@pytest.mark.parametrize("roots", ["NORD=incoming", "not an id=/incoming"])
def test_a_root_that_only_looks_bound_is_refused(
    roots: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEID_SOURCE_ROOTS", roots)

    with pytest.raises(settings.InvalidSettings, match="DEID_SOURCE_ROOTS"):
        settings.load()


@pytest.mark.db
async def test_a_place_for_checkpoints_that_is_none_is_named_by_its_setting(
    configured: Callable[..., Settings],
) -> None:
    wrong = configured(audit_checkpoint_to="planted://place")

    async with bootstrap.opened(wrong) as gateway:
        with pytest.raises(errors.Misconfigured, match="DEID_AUDIT_CHECKPOINT_TO") as refused:
            async with bootstrap.audit_kept(gateway):
                pass

    assert "planted" not in str(refused.value)
