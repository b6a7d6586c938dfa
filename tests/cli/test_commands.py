"""The other commands: keys, API keys, organisations, audit, database, profiles, description."""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from app import cli, errors
from tests.cli.conftest import Invoke, files_below

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command_and_loads_none_of_them() -> None:
    code = (
        "import sys; from app.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydicom', 'sqlalchemy', 'fastapi', 'pydantic'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert all(name in done.stdout for name in cli.COMMANDS)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(invoke: Invoke, name: str) -> None:
    done = invoke(name, "--help")

    assert done.exit_code == 0
    assert done.output.startswith("Usage:")


def test_an_unknown_command_is_wrong_usage(invoke: Invoke) -> None:
    assert invoke("none-such").exit_code == 2


def test_an_error_ends_in_one_line_with_its_code(tmp_path: Path) -> None:
    done = run("keys", "status", "--data-dir", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith("deid-gateway: ")
    assert "(misconfigured)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_the_program_ends_without_its_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise ValueError("PLANTED^NAME")

    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(cli.group, "main", fail)

    with pytest.raises(SystemExit) as ended:
        cli.main([])

    said = capsys.readouterr().err
    assert ended.value.code == cli.EXIT_BROKEN
    assert "ValueError" in said
    assert "PLANTED" not in said


def test_a_wrong_setting_is_named_without_its_value() -> None:
    done = run("profiles", "list", DEID_PORT="planted-secret")

    assert done.returncode == 1
    assert "DEID_PORT" in done.stderr
    assert "planted-secret" not in done.stderr


def test_keys_are_made_once_and_never_overwritten(invoke: Invoke, data_dir: Path) -> None:
    made = invoke("keys", "init")
    first = (data_dir / "keys" / "gateway-keys.json").read_bytes()
    again = invoke("keys", "init")

    assert "Keep a copy" in made.output
    assert again.output.startswith("Kept")
    assert (data_dir / "keys" / "gateway-keys.json").read_bytes() == first


def test_what_is_missing_beside_a_kept_key_file_is_named(invoke: Invoke, data_dir: Path) -> None:
    invoke("keys", "init")
    (data_dir / "keys" / "reidentification-key.json").unlink()

    done = invoke("keys", "init")

    assert done.exit_code == 0
    assert f"Not here: {data_dir / 'keys' / 'reidentification-key.json'}" in done.output
    assert "review-key.json" not in done.output


@pytest.mark.parametrize("command", ["init", "status", "rotate"])
def test_a_key_file_that_is_a_directory_is_told(
    invoke: Invoke, data_dir: Path, command: str
) -> None:
    (data_dir / "keys" / "gateway-keys.json").mkdir(parents=True)

    done = invoke("keys", command)

    assert isinstance(done.exception, errors.Misconfigured)
    assert "gateway-keys.json is not a regular file" in str(done.exception)


def test_the_state_of_the_keys_shows_no_key(invoke: Invoke, data_dir: Path) -> None:
    invoke("keys", "init")
    secret = json.loads((data_dir / "keys" / "gateway-keys.json").read_text())["pseudonym_root"]

    done = invoke("keys", "status")

    assert done.exit_code == 0
    assert done.output.count("usable") == 3
    assert secret not in done.output


def test_a_private_key_that_is_elsewhere_is_no_fault(invoke: Invoke, data_dir: Path) -> None:
    invoke("keys", "init")
    (data_dir / "keys" / "reidentification-key.json").unlink()

    done = invoke("keys", "status")

    assert done.exit_code == 0
    assert "not here" in done.output


def test_key_files_that_others_can_read_are_refused(invoke: Invoke, data_dir: Path) -> None:
    invoke("keys", "init")
    (data_dir / "keys" / "gateway-keys.json").chmod(0o644)

    assert isinstance(invoke("keys", "status").exception, errors.Misconfigured)


def test_an_api_key_is_made_listed_and_revoked(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD", "--name", "Radiology North")
    made = invoke("api-keys", "create", "viewer", "--organization", "NORD", "--scope", "anonymize")
    token = made.stdout.strip()
    key_id = token.split("_")[1]

    listed = invoke("api-keys", "list")
    revoked = invoke("api-keys", "revoke", key_id)
    listed_again = invoke("api-keys", "list", "--organization", "NORD")

    assert token.startswith("dgw_")
    assert "valid" in listed.output
    assert token not in listed.output
    assert revoked.exit_code == 0
    assert "revoked" in listed_again.output


def test_an_api_key_needs_an_organisation_that_is_there(invoke: Invoke) -> None:
    done = invoke("api-keys", "create", "viewer", "--organization", "NOBODY", "--scope", "audit")

    assert isinstance(done.exception, errors.OrganizationNotFound)


def test_an_api_key_needs_profiles_that_are_there(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD")
    done = invoke(
        *("api-keys", "create", "viewer", "--organization", "NORD", "--scope", "anonymize"),
        *("--allow-profile", "none-such"),
    )

    assert isinstance(done.exception, errors.ProfileNotFound)


def test_organisations_are_listed(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD", "--name", "Radiology North")

    assert "NORD                      Radiology North" in invoke("organizations", "list").output


def test_administration_needs_no_key(invoke: Invoke, data_dir: Path) -> None:
    invoke("organizations", "add", "NORD")

    assert not (data_dir / "keys").exists()


def test_an_intact_audit_is_said_to_be_intact(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD")
    invoke("api-keys", "create", "viewer", "--organization", "NORD", "--scope", "anonymize")

    done = invoke("audit", "verify")

    assert done.exit_code == 0
    assert "intact" in done.output


def test_a_changed_audit_is_said_to_be_broken(invoke: Invoke, database_url: str) -> None:
    invoke("organizations", "add", "NORD")
    invoke("api-keys", "create", "viewer", "--organization", "NORD", "--scope", "anonymize")
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE audit_events SET actor = 'nobody'")

    done = invoke("audit", "verify", "--organization", "NORD")

    assert done.exit_code == 1
    assert "BROKEN at row 1 (altered)" in done.output


def test_the_database_is_at_this_releases_revision(invoke: Invoke) -> None:
    assert invoke("db", "upgrade").exit_code == 0
    assert invoke("db", "status").exit_code == 0


def test_a_database_without_tables_is_told(
    invoke: Invoke, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    done = invoke("db", "status")

    assert done.exit_code == 1
    assert "at revision none" in done.output


def test_database_users_are_given_the_rights_of_their_roles(
    invoke: Invoke, database_url: str
) -> None:
    user = f"test_cli_{secrets.token_hex(4)}"

    done = invoke("db", "grant", f"anonymize={user}", f"scale={user}")

    with psycopg.connect(database_url, autocommit=True) as owner:
        question = f"SELECT has_table_privilege('{user}', %s, 'INSERT')"
        rights = [
            owner.execute(question, [table]).fetchone()[0] for table in ("studies", "batches")
        ]
        owner.execute(f"DROP OWNED BY {user}")
        owner.execute(f"DROP ROLE {user}")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"{user} was made, without a password, and has the rights of anonymize.",
        f"{user} has the rights of scale.",
    ]
    assert rights == [False, False]


@pytest.mark.parametrize("pair", ["deid_gateway", "everybody=deid_gateway", "=deid_gateway"])
def test_a_role_that_does_not_exist_is_wrong_usage(invoke: Invoke, pair: str) -> None:
    assert invoke("db", "grant", pair).exit_code == 2


def test_production_does_not_make_tables_by_itself(
    invoke: Invoke, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.setenv("DEID_MODE", "production")

    done = invoke("organizations", "list")

    assert isinstance(done.exception, errors.Misconfigured)
    assert "db upgrade" in str(done.exception)


def test_production_does_not_make_keys_by_itself(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEID_MODE", "production")
    (tmp_path / "image").write_bytes(b"x")

    done = invoke("anonymize", tmp_path / "image", "-o", tmp_path / "out")

    assert isinstance(done.exception, errors.Misconfigured)


def test_production_does_not_make_organisations_by_itself(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("keys", "init")
    monkeypatch.setenv("DEID_MODE", "production")
    (tmp_path / "image").write_bytes(b"x")

    done = invoke(
        "anonymize", tmp_path / "image", "-o", tmp_path / "out", "--organization", "NOBODY"
    )

    assert isinstance(done.exception, errors.OrganizationNotFound)


def test_without_a_database_url_the_embedded_server_is_used(
    invoke: Invoke, reachable_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DEID_DATA_DIR", str(reachable_path / "data"))

    added = invoke("organizations", "add", "NORD")
    listed = invoke("organizations", "list")

    assert added.exit_code == 0, added.output
    assert "NORD" in listed.output
    assert (reachable_path / "data" / "postgres" / "cluster").is_dir()


def test_profiles_are_listed_and_shown(invoke: Invoke) -> None:
    assert "basic-per-study" in invoke("profiles", "list").output
    assert json.loads(invoke("profiles", "show", "basic", "--json").output)["name"] == "basic"


def test_profiles_of_a_directory_are_known(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text("name: own\ndescription: ours\n")
    monkeypatch.setenv("DEID_PROFILES_DIR", str(tmp_path))

    assert "ours" in invoke("profiles", "list").output


def test_a_broken_profile_in_the_directory_is_named(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text("name: [")
    monkeypatch.setenv("DEID_PROFILES_DIR", str(tmp_path))

    done = invoke("profiles", "list")

    assert isinstance(done.exception, errors.Misconfigured)
    assert "own.yaml" in str(done.exception)


def test_a_directory_of_profiles_that_is_not_there_is_told(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEID_PROFILES_DIR", str(tmp_path / "nowhere"))

    done = invoke("profiles", "list")

    assert isinstance(done.exception, errors.Misconfigured)
    assert "directory of profiles" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("anonymize", ".", "-o", ""), "-o is empty"),
        (("anonymize", ".", "--output="), "--output is empty"),
        (("anonymize", "", "-o", "out"), "An argument is empty"),
        (("anonymize", ".", "-o", "out", "--organization", ""), "--organization is empty"),
        (("manifest", "verify", ""), "argument is empty"),
        (("batch", "", "--watch"), "An argument is empty"),
        (("batch", ".", "--idempotency-key", ""), "--idempotency-key is empty"),
        (("keys", "status", "--data-dir", ""), "--data-dir is empty"),
        (("",), "argument is empty"),
        (("reidentify", "--patient-id=PLANTED-1", ""), "An argument is empty"),
        (("reidentify", "--patient-id", "-PLANTED-1", ""), "An argument is empty"),
        (("reidentify", "--patient-id", "-77410093", ""), "An argument is empty"),
        (("reidentify", "--PLANTED-1="), "An argument is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_empty_value_is_wrong_usage_and_not_the_default(
    invoke: Invoke,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    done = invoke(*arguments)

    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert not data_dir.exists()
    assert files_below(tmp_path) == []


@pytest.mark.db
@pytest.mark.parametrize(
    "arguments",
    [
        ("api-keys", "revoke", "\udcff"),
        ("audit", "list", "--actor", "\udcff"),
        ("audit", "list", "--organization", "\udcff"),
    ],
    ids=["api-keys-revoke", "audit-list-actor", "audit-list-organization"],
)
def test_an_argument_that_is_no_utf_8_is_not_valid(
    invoke: Invoke, arguments: tuple[str, ...]
) -> None:
    assert isinstance(invoke(*arguments).exception, errors.InvalidRequest)


def test_the_description_of_the_interface_is_printed(invoke: Invoke) -> None:
    assert "/anonymize-stream" in json.loads(invoke("openapi").output)["paths"]


def test_a_mistyped_id_is_told_on_the_command_line(invoke: Invoke) -> None:
    done = invoke("reidentify", "7QM2X-9THV4-CBK9", "--purpose", "TREAT", "--reference", "T-1")

    assert isinstance(done.exception, errors.MistypedCloudStudyId)
