"""The files that deploy the gateway agree with each other and with the program."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
        *("LICENSE", "requirements.txt", "alembic", "app"),
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


def test_a_key_file_cannot_be_committed(repository):
    path = repository / "gateway-keys.json"
    path.write_text(json.dumps({}))

    assert hook(repository, "no-key-files", path) == 1


@pytest.mark.parametrize(("size", "outcome"), [(1 << 20, 0), ((1 << 20) + 1, 1)])
def test_a_large_file_cannot_be_committed(repository, size, outcome):
    path = repository / "file.bin"
    path.write_bytes(bytes(size))

    assert hook(repository, "no-large-files", path) == outcome
