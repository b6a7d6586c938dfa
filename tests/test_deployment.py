"""The files that deploy the gateway agree with each other and with the program."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from app.db.embedded import EmbeddedPostgres
from app.db.installation import installation_of_wheel
from app.db.roles import GRANTS, DatabaseRole
from app.samples import PATIENT_ID, sample_instance, write_sample_study
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_image_passes_its_linter():
    done = run(str(BIN / "hadolint"), "Dockerfile")

    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_no_compiler_and_no_root():
    stages = (ROOT / "Dockerfile").read_text().split("FROM ")

    assert "slim" in stages[-1].splitlines()[0]
    assert not {"gcc", "build-essential", "apt-get"} & set(stages[-1].split())
    assert "USER 10001" in stages[-1]


def test_the_builder_gets_nothing_but_the_program():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] in "*!"]

    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule[0] == "!"} == {
        *("LICENSE", "requirements.txt", "requirements-dev.txt", "alembic", "app"),
    }


@pytest.fixture
def repository(tmp_path):
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    run("git", "init", "-q", cwd=tmp_path)
    return tmp_path


def hook(repository: Path, name: str, file: Path) -> int:
    command = [str(BIN / "pre-commit"), "run", name, "--files", str(file)]
    home = f"PRE_COMMIT_HOME={repository / 'home'}"
    run("git", "add", "-f", ".pre-commit-config.yaml", str(file), cwd=repository)
    return run("env", home, *command, cwd=repository).returncode


def test_a_dicom_object_cannot_be_committed(repository):
    path = repository / "image.dcm"
    path.touch()

    assert hook(repository, "no-dicom-objects", path) == 1


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH "])
def test_a_private_key_cannot_be_committed(repository, kind):
    path = repository / "notes.txt"
    path.write_text(f"-----BEGIN {kind}PRIVATE KEY-----\n")

    assert hook(repository, "no-private-keys", path) == 1


@pytest.mark.parametrize("name", ["gateway-keys.json", "server.pem", "viewer.token", ".env"])
def test_a_file_of_secrets_cannot_be_committed(repository, name):
    path = repository / name
    path.write_text(json.dumps({}))

    assert hook(repository, "no-key-files", path) == 1


@pytest.mark.parametrize(("size", "outcome"), [(1 << 20, 0), ((1 << 20) + 1, 1)])
def test_a_large_file_cannot_be_committed(repository, size, outcome):
    path = repository / "file.bin"
    path.write_bytes(bytes(size))

    assert hook(repository, "no-large-files", path) == outcome


class Deployment:
    """The services of docker-compose.yml as processes: same commands, same users, same settings."""

    def __init__(self, root: Path, server: EmbeddedPostgres) -> None:
        self.root = root
        self.server = server
        self.services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.running: list[subprocess.Popen[bytes]] = []
        self.addresses: dict[str, str] = {}

    def prepare(self) -> None:
        """Do what the postgres image, the migrate and the grants services do."""
        psql = f"PATH={installation_of_wheel() / 'bin'}:/usr/bin:/bin"
        host = f"PGHOST={self.server.root / 'cluster' / 'run'}"
        names = [name for name in self.services["postgres"]["environment"] if "OSTGRES" not in name]
        passwords = [f"{name}=a1b2c3" for name in names]
        script = str(ROOT / "tools" / "postgres" / "roles.sh")
        self.expect("env", psql, host, *passwords, "POSTGRES_USER=postgres", script)
        self.expect_command("migrate")
        grants = self.services["grants"]
        command = [*grants["command"][:-1], str(ROOT / "tools" / "postgres" / "grants.sql")]
        user = [f"PGUSER={grants['environment']['PGUSER']}", "PGDATABASE=deid"]
        self.expect("env", psql, host, *user, *command)

    def expect_command(self, service: str, *command: str) -> str:
        """Run a service's command, or another one in its place, to its end."""
        return self.expect(*self.command(service, *command))

    def serve(self, service: str) -> str:
        """Start a service on a free port, unless it runs, and return its address."""
        if service not in self.addresses:
            self.addresses[service] = self.started(service)
        return self.addresses[service]

    def started(self, service: str) -> str:
        log = self.root / f"{service}.log"
        with log.open("wb") as output:
            command = [*self.command(service), "--host", "127.0.0.1", "--port", "0"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self.running.append(process)
        address = f"http://127.0.0.1:{self.port_of(process, log)}"
        assert httpx.get(f"{address}/readyz").is_success
        return address

    def work(self) -> None:
        """Start the worker service."""
        log = self.root / "worker.log"
        with log.open("wb") as output:
            command = self.command("worker", "worker", "--concurrency", "1")
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self.running.append(process)

    @staticmethod
    def port_of(process: "subprocess.Popen[bytes]", log: Path) -> str:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            for line in log.read_text().splitlines():
                if '"gateway-started"' in line:
                    time.sleep(0.2)
                    return str(json.loads(line)["port"])
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    def command(self, service: str, *instead: str) -> list[str]:
        described = self.services[service]
        settings = {
            "DEID_MODE": "production",
            "DEID_DATA_DIR": str(self.root / service),
            **described["environment"],
        }
        user = re.match("postgresql://([a-z_]+):", settings["DATABASE_URL"])[1]
        socket = self.server.url("deid").partition("?")[2]
        settings["DATABASE_URL"] = f"postgresql://{user}@/deid?{socket}"
        defaults = {
            name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", text) for name, text in settings.items()
        }
        added = [f"{name}={self.placed(value)}" for name, value in defaults.items()]
        program = str(BIN / "deid-gateway")
        return ["env", *added, program, *(instead or described["command"])]

    def placed(self, value: str) -> str:
        """Put what a volume holds below the directory of this test."""
        place = re.match("/(keys|staging|incoming|quarantine)", value)
        return str(self.root) + value if place else value

    def expect(self, *command: str) -> str:
        done = run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(30)


@pytest.fixture(scope="module")
def deployment(run_directory: Path) -> Iterator[Deployment]:
    root = Path(tempfile.mkdtemp(dir=run_directory))
    for name in ("keys/gateway", "keys/reidentify", "keys/review", "quarantine"):
        (root / name).mkdir(parents=True)
    server = EmbeddedPostgres(
        root / "postgres", fsync=False, reachable_dir=run_directory / "reachable"
    )
    server.start()
    made = Deployment(root, server)
    try:
        made.prepare()
        yield made
    finally:
        made.stop()
        server.stop()


@pytest.fixture(scope="module")
def with_keys(deployment: Deployment) -> Deployment:
    deployment.expect_command("cli", "keys", "init")
    deployment.expect_command("cli", "organizations", "add", "HOSPITAL")
    return deployment


def api_key(
    deployment: Deployment, name: str, *scopes: str, organization: str = "HOSPITAL"
) -> dict[str, str]:
    granted = [part for scope in scopes for part in ("--scope", scope)]
    command = ("api-keys", "create", name, "--organization", organization, *granted)
    token = deployment.expect_command("cli", *command).split()[-1]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.db
def test_a_study_goes_through_the_composed_services_and_back(with_keys):
    gateway, reidentify = with_keys.serve("gateway"), with_keys.serve("reidentify")
    content = {"Content-Type": "application/dicom"}

    sent = httpx.post(
        f"{gateway}/anonymize-stream",
        content=sample_instance().data,
        headers={**api_key(with_keys, "viewer", "anonymize"), **content},
    )
    why = {"purpose": "TREAT", "reference": "TICKET-1"}
    question = {"cloud_study_id": sent.headers["X-Cloud-Study-Id"], **why}
    reporting = api_key(with_keys, "reports", "reidentify")
    found = httpx.get(f"{reidentify}/reidentify", params=question, headers=reporting)
    refused = httpx.get(f"{gateway}/reidentify", params=question, headers=reporting)

    assert found.json()["original_patient_id"] == PATIENT_ID
    assert refused.status_code == 503
    assert refused.json()["code"] == "role-not-served"


@pytest.mark.db
def test_a_batch_goes_through_the_composed_services_with_their_own_users(with_keys):
    batches, reidentify = with_keys.serve("batches"), with_keys.serve("reidentify")
    with_keys.work()
    write_sample_study(with_keys.root / "incoming" / "study")
    headers = api_key(with_keys, "scripts", "batch")
    study = str(with_keys.root / "incoming" / "study")
    waiting = {"Prefer": "wait=60"}
    with httpx.Client(base_url=batches, headers=headers, timeout=90) as client:
        done = client.post(
            "/batch-prepare", json={"study_directory": study}, headers=waiting
        ).json()
        (with_keys.root / "incoming" / "study" / "report.dcm").write_bytes(b"not DICOM")
        damaged = with_keys.root / "incoming" / "study" / "ct-1-1.dcm"
        damaged.write_bytes(damaged.read_bytes()[:-1000])
        held = client.post(
            "/batch-prepare", json={"study_directory": study}, headers=waiting
        ).json()
        damaged.unlink()
        tried_again = client.post(held["links"]["retry"], headers=waiting)
        unwanted = client.post(
            "/batch-prepare",
            content=b"PK is no archive",
            headers={"Content-Type": "application/zip", "Prefer": "wait=60"},
        ).json()
        listed = client.get("/batches").json()["batches"]
        items = client.get(done["links"]["items"]).json()["items"]
        deleted = client.delete(unwanted["links"]["self"])
        counted = client.get("/metrics")
    originals = httpx.get(
        f"{reidentify}/batches/{done['batch_id']}/originals",
        params={"purpose": "HTEST", "reference": "TICKET-1"},
        headers=api_key(with_keys, "both", "batch", "reidentify"),
    )

    assert (done["success"], done["successful_files"]) == (True, 7)
    assert (held["state"], held["problems"]) == ("held", {"not-dicom": 1, "truncated": 1})
    assert tried_again.status_code == 202
    assert unwanted["state"] == "failed"
    assert len(listed) == 3
    assert len(items) == 7
    assert deleted.status_code == 204
    assert counted.is_success
    assert originals.is_success, originals.text
    assert "ct-1-1.dcm" in originals.text


@pytest.mark.db
def test_the_audit_is_read_and_a_patient_erased_by_services_of_their_own(with_keys):
    gateway, audit, admin = (with_keys.serve(name) for name in ("gateway", "audit", "admin"))
    with_keys.expect_command("cli", "organizations", "add", "CLINIC")
    everything = ("anonymize", "admin", "audit")
    headers = api_key(with_keys, "everything", *everything, organization="CLINIC")
    content = {"Content-Type": "application/dicom"}
    sent = httpx.post(
        f"{gateway}/anonymize-stream", content=sample_instance().data, headers=headers | content
    )
    address = f"/subjects/{sent.headers['X-Cloud-Study-Id']}?purpose=PATRQT&reference=TICKET-2"

    refused = httpx.delete(gateway + address, headers=headers)
    erased = httpx.delete(admin + address, headers=headers)
    seen = httpx.get(f"{audit}/audit?action=erase-subject", headers=headers)
    sealed = httpx.get(f"{audit}/audit/checkpoint", headers=headers)
    elsewhere = httpx.get(f"{admin}/audit", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (503, "role-not-served")
    assert erased.is_success, erased.text
    assert [event["outcome"] for event in seen.json()["events"]] == ["success"]
    assert sealed.is_success, sealed.text
    assert elsewhere.json()["code"] == "role-not-served"


@pytest.mark.db
def test_what_is_held_is_reviewed_by_a_service_of_its_own(with_keys):
    gateway, review = (with_keys.serve(name) for name in ("gateway", "review"))
    headers = api_key(with_keys, "eyes", "review")

    listed = httpx.get(f"{review}/quarantine", headers=headers)
    page = httpx.get(f"{review}/review", follow_redirects=True)
    elsewhere = httpx.get(f"{gateway}/quarantine", headers=headers)
    held = with_keys.root / "quarantine" / "held"

    assert listed.is_success, listed.text
    assert listed.json()["objects"] == []
    assert page.is_success
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (503, "role-not-served")
    assert held.stat().st_mode & 0o777 == 0o700
    assert not (with_keys.root / "gateway" / "quarantine").exists()


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("deid_gateway", DatabaseRole.ANONYMIZE),
        ("deid_batch", DatabaseRole.BATCH),
        ("deid_worker", DatabaseRole.WORKER),
        ("deid_reidentify", DatabaseRole.REIDENTIFY),
        ("deid_review", DatabaseRole.REVIEW),
        ("deid_auditor", DatabaseRole.AUDITOR),
        ("deid_admin", DatabaseRole.ADMIN),
        ("deid_scaler", DatabaseRole.SCALE),
        ("deid_verifier", DatabaseRole.AUDIT),
    ],
)
def test_a_composed_user_is_granted_what_its_role_needs(user, role):
    text = (ROOT / "tools" / "postgres" / "grants.sql").read_text()

    granted = re.findall(rf"^GRANT (.+) TO {user};$", text, re.MULTILINE)

    assert granted == list(GRANTS[role])


@pytest.mark.db
@pytest.mark.parametrize(
    ("user", "statement"),
    [
        ("deid_gateway", "UPDATE studies SET cloud_study_id = ''"),
        ("deid_gateway", "DELETE FROM instances"),
        ("deid_gateway", "SELECT sealed FROM studies"),
        ("deid_gateway", "SELECT actor FROM audit_events"),
        ("deid_gateway", "INSERT INTO api_keys (id) VALUES ('x')"),
        ("deid_gateway", "UPDATE api_keys SET revoked_at = NULL"),
        ("deid_gateway", "TRUNCATE audit_events"),
        ("deid_gateway", "DELETE FROM audit_heads"),
        ("deid_gateway", "CREATE TABLE mine (value text)"),
        ("deid_gateway", "SELECT FROM batches"),
        ("deid_gateway", "SELECT FROM procrastinate_jobs"),
        ("deid_gateway", "SELECT sealed FROM quarantine"),
        ("deid_gateway", "SELECT decision FROM quarantine"),
        ("deid_gateway", "UPDATE quarantine SET state = 'released'"),
        ("deid_gateway", "DELETE FROM quarantine"),
        ("deid_gateway", "UPDATE mask_rules SET state = 'approved'"),
        ("deid_worker", "UPDATE quarantine SET state = 'released'"),
        ("deid_review", "SELECT FROM studies"),
        ("deid_review", "DELETE FROM quarantine"),
        ("deid_review", "UPDATE quarantine SET sent_by = 'somebody'"),
        ("deid_review", "UPDATE mask_rules SET proposed_by = 'somebody'"),
        ("deid_admin", "SELECT sealed FROM quarantine"),
        ("deid_batch", "INSERT INTO instances (uid) VALUES (gen_random_uuid())"),
        ("deid_batch", "SELECT sealed FROM data_keys"),
        ("deid_batch", "UPDATE batch_items SET state = 'succeeded'"),
        ("deid_worker", "SELECT sealed FROM data_keys"),
        ("deid_worker", "SELECT sealed FROM study_identities"),
        ("deid_worker", "DELETE FROM instances"),
        ("deid_worker", "UPDATE api_keys SET revoked_at = NULL"),
        ("deid_scaler", "SELECT sealed_request FROM batches"),
        ("deid_scaler", "SELECT FROM organizations"),
        ("deid_reidentify", "UPDATE batches SET state = 'queued'"),
        ("deid_reidentify", "INSERT INTO studies (cloud_study_id) VALUES ('x')"),
        ("deid_reidentify", "UPDATE audit_events SET actor = ''"),
        ("deid_reidentify", "DELETE FROM data_keys"),
        ("deid_auditor", "SELECT FROM subjects"),
        ("deid_auditor", "UPDATE audit_events SET actor = ''"),
        ("deid_admin", "SELECT sealed FROM studies"),
        ("deid_admin", "SELECT actor FROM audit_events"),
        ("deid_verifier", "INSERT INTO audit_checkpoints (chain) VALUES ('x')"),
        ("deid_verifier", "SELECT FROM api_keys"),
    ],
)
def test_a_serving_user_may_not(deployment, user, statement):
    url = deployment.server.url("deid").replace("postgres@", f"{user}@", 1)

    with (
        psycopg.connect(url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.db
def test_the_autoscaler_of_the_chart_may_ask_what_waits(deployment):
    query = (ROOT / "deploy/helm/deid-gateway/files/waiting.sql").read_text()
    url = deployment.server.url("deid").replace("postgres@", "deid_scaler@", 1)

    with psycopg.connect(url) as connection:
        assert connection.execute(query).fetchone()[0] >= 0


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_only_the_reidentify_service_holds_the_private_key(services):
    holders = {
        name
        for name, service in services.items()
        if any("reidentify-keys" in volume for volume in service.get("volumes", []))
    }

    assert holders == {"reidentify", "cli"}
    assert services["cli"]["profiles"] == ["cli"]


def test_only_the_review_service_holds_the_review_key(services):
    holders = {
        name
        for name, service in services.items()
        if any("review-keys" in volume for volume in service.get("volumes", []))
    }

    assert holders == {"review", "cli"}


def test_what_is_held_is_seen_by_those_who_hold_and_those_who_review(services):
    seeing = {
        name
        for name, service in services.items()
        if "quarantine:/quarantine" in service.get("volumes", [])
    }

    assert seeing == {"gateway", "worker", "review"}


def test_every_serving_service_has_one_role(services):
    served = {
        name: service["command"][1:]
        for name, service in services.items()
        if service.get("command", [])[:1] == ["serve"]
    }

    assert served == {
        "gateway": ["--role", "anonymize"],
        "batches": ["--role", "batch"],
        "reidentify": ["--role", "reidentify"],
        "review": ["--role", "review"],
        "audit": ["--role", "audit"],
        "admin": ["--role", "admin"],
    }


def test_the_image_serves_no_role_by_itself_that_opens_or_destroys_the_mapping():
    assert 'CMD ["serve", "--role", "anonymize"]' in (ROOT / "Dockerfile").read_text()


def test_each_service_has_its_own_database_user(services):
    urls = {name: service["environment"].get("DATABASE_URL") for name, service in services.items()}

    users = {name: url.split("//")[1].split(":")[0] for name, url in urls.items() if url}

    assert users == {
        "migrate": "deid_owner",
        "gateway": "deid_gateway",
        "batches": "deid_batch",
        "worker": "deid_worker",
        "reidentify": "deid_reidentify",
        "review": "deid_review",
        "audit": "deid_auditor",
        "admin": "deid_admin",
        "cli": "deid_owner",
    }


def test_the_database_is_in_a_network_that_leads_nowhere(services):
    networks = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["networks"]

    assert networks["database"] == {"internal": True}
    assert services["postgres"]["networks"] == ["database"]
    assert "ports" not in services["postgres"]


def test_every_published_port_is_on_this_machine_alone_and_taken_once(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]

    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports) == 6


def test_tls_is_put_on_every_service_that_is_called(services):
    secured = yaml.safe_load((ROOT / "docker-compose.tls.yml").read_text())["services"]

    assert set(secured) == {name for name, service in services.items() if "ports" in service}
    for service in secured.values():
        assert settings_of(service) == {"DEID_TLS_CERTIFICATE_FILE", "DEID_TLS_KEY_FILE"}


def settings_of(service: dict) -> set[str]:
    return {name for name in service.get("environment", ()) if name.startswith("DEID_")}


def test_every_setting_of_the_services_is_one_of_the_program(services):
    known = {f"DEID_{name.upper()}" for name in Settings.model_fields}

    used = {name for service in services.values() for name in settings_of(service)}

    assert "DEID_AUDIT_SYSLOG" in used
    assert used <= known


def test_the_example_names_every_variable_that_the_services_read():
    text = "".join(path.read_text() for path in ROOT.glob("docker-compose*.yml"))
    example = (ROOT / ".env.example").read_text()

    needed = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))

    assert needed == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert optional == set(re.findall(r"^#(\w+)=", example, re.MULTILINE))


def test_the_composed_services_fit_the_compose_schema():
    checker = str(BIN / "check-jsonschema")
    files = ("docker-compose.yml", "docker-compose.tls.yml")

    done = run(checker, "--builtin-schema", "vendor.compose-spec", *files)

    assert done.returncode == 0, done.stdout
