"""The serving process: what it prints, and the worker processes beside it."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.development import SENDING, shown, write_private
from app.samples import write_sample_study
from tests.api.test_uploads import Program
from tests.db.test_embedded import wait_until_gone

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.db


def curl_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("curl ")]


def paste(line: str, directory: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} --fail"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def workers_of(pid: int) -> list[int]:
    """The worker processes of a gateway that are past their start."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if name_of(child) == "deid-worker"]


def name_of(pid: str) -> str:
    try:
        return Path("/proc", pid, "comm").read_text().strip()
    except FileNotFoundError:
        return ""


def wait_for_workers(pid: int, count: int) -> list[int]:
    deadline = time.monotonic() + 30
    while len(found := workers_of(pid)) != count:
        assert time.monotonic() < deadline, f"there are {len(found)} worker processes"
        time.sleep(0.02)
    return found


@pytest.fixture
def serving(database_url: str, tmp_path: Path) -> Iterator[Program]:
    """A gateway with two worker processes."""
    program = Program(database_url, tmp_path / "data", workers=2)
    yield program
    if program.process.poll() is None:
        program.process.kill()
    program.process.communicate()


def prepare(program: Program, directory: Path, **asked: object) -> dict:
    """Hand a study directory in and wait for its end."""
    token = (directory / "data" / "keys" / "development.token").read_text().strip()
    answer = httpx.post(
        f"http://127.0.0.1:{program.port}/batch-prepare",
        json={"study_directory": str(directory / "data" / "incoming" / "sample-study")} | asked,
        headers={"Authorization": f"Bearer {token}", "Prefer": "wait=60"},
        timeout=90,
    )
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


def test_the_lines_that_serve_prints_can_be_pasted(serving: Program, tmp_path: Path) -> None:
    kept = (tmp_path / "data" / "keys" / "development.token").stat()
    lines = [serving.process.stdout.readline() for _ in range(15)]
    send, prepare, ask = curl_lines("".join(lines))

    headers = paste(send, tmp_path)
    batch = json.loads(paste(prepare, tmp_path))
    found = json.loads(paste(ask, tmp_path))

    assert found["original_patient_id"] == "SAMPLE-0001"
    assert found["cloud_study_id"] in headers
    assert (batch["success"], batch["successful_files"]) == (True, 7)
    assert (Path(batch["staging_directory"]) / found["cloud_study_id"]).is_dir()
    assert (tmp_path / "anonymous.dcm").stat().st_size > 0
    assert stat.S_IMODE(kept.st_mode) == 0o600
    assert SENDING.name in "".join(lines)


def test_no_sample_study_is_offered_where_sources_are_configured(
    database_url: str, tmp_path: Path
) -> None:
    roots = {"DEID_SOURCE_ROOTS": str(tmp_path), "DEID_WORKERS": "0", "DATABASE_URL": database_url}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--port", "0"],
        env={"DEID_DATA_DIR": str(tmp_path / "data"), **roots},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stderr.readline()
    process.stderr.readline()
    process.terminate()
    output, _ = process.communicate(timeout=30)

    assert len(curl_lines(output)) == 2
    assert not (tmp_path / "data" / "incoming").exists()


def test_a_worker_that_is_killed_is_replaced_and_the_batch_ends(
    serving: Program, tmp_path: Path
) -> None:
    killed = wait_for_workers(serving.process.pid, 2)
    os.kill(killed[0], signal.SIGKILL)
    wait_until_gone(killed[0])

    batch = prepare(serving, tmp_path)

    replaced = wait_for_workers(serving.process.pid, 2)
    assert batch["success"] is True
    assert killed[0] not in replaced
    assert killed[1] in replaced


def test_a_gateway_that_is_told_to_stop_leaves_no_process(serving: Program) -> None:
    workers = wait_for_workers(serving.process.pid, 2)

    code = serving.stop()

    assert code == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_a_gateway_that_is_killed_leaves_no_process(serving: Program) -> None:
    workers = wait_for_workers(serving.process.pid, 2)

    serving.process.kill()
    serving.process.communicate()

    for pid in workers:
        wait_until_gone(pid)


def test_a_gateway_that_is_told_twice_waits_for_no_worker(serving: Program) -> None:
    workers = wait_for_workers(serving.process.pid, 2)
    for pid in workers:  # they cannot follow
        os.kill(pid, signal.SIGSTOP)

    serving.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    is_waiting = serving.process.poll() is None
    serving.process.send_signal(signal.SIGINT)
    serving.process.communicate(timeout=15)

    assert is_waiting
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_a_gateway_outlives_the_death_of_its_own_database(reachable_path: Path) -> None:
    program = Program(None, reachable_path / "data", workers=1)
    try:
        first = prepare(program, reachable_path)
        pid_file = reachable_path / "data" / "postgres" / "cluster" / "data" / "postmaster.pid"
        killed = int(pid_file.read_text().splitlines()[0])
        os.kill(killed, signal.SIGKILL)
        wait_until_gone(killed)
        deadline = time.monotonic() + 30
        while not httpx.get(f"http://127.0.0.1:{program.port}/readyz").is_success:
            assert time.monotonic() < deadline, "the gateway does not recover"
            time.sleep(0.05)
        write_sample_study(reachable_path / "data" / "incoming" / "again")
        again = prepare(
            program,
            reachable_path,
            study_directory=str(reachable_path / "data" / "incoming" / "again"),
        )
    finally:
        code = program.stop()

    assert (first["success"], again["success"], code) == (True, True, 0)
    assert again["batch_id"] != first["batch_id"]


def test_what_the_first_start_makes_is_kept(database_url: str, tmp_path: Path) -> None:
    study = tmp_path / "data" / "incoming" / "sample-study"
    outputs, tokens, made = [], [], []
    for _ in range(2):
        program = Program(database_url, tmp_path / "data")
        tokens.append((tmp_path / "data" / "keys" / "development.token").read_text().strip())
        made.append({path.name: path.stat().st_mtime_ns for path in study.iterdir()})
        (study / "report.dcm").unlink(missing_ok=True)
        program.process.terminate()
        outputs.append(program.process.communicate()[0])

    assert tokens[0] == tokens[1]
    assert tokens[0] in outputs[0]
    assert tokens[0] not in outputs[1]
    assert made[0].keys() - made[1].keys() == {"report.dcm"}
    assert made[1].items() <= made[0].items()
    assert [path.name for path in study.parent.iterdir()] == ["sample-study"]


def test_serve_serves_the_roles_it_is_given(database_url: str, tmp_path: Path) -> None:
    program = Program(database_url, tmp_path / "data", "--role", "anonymize", workers=2)
    try:
        url = f"http://127.0.0.1:{program.port}"
        ready = httpx.get(f"{url}/readyz").json()
        answer = httpx.get(f"{url}/reidentify")
        pid = program.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    finally:
        program.stop()

    assert ready["roles"] == ["anonymize"]
    assert (answer.status_code, answer.json()["code"]) == (503, "role-not-served")
    assert workers == ""


def test_a_taken_port_is_told_in_one_line(database_url: str, tmp_path: Path) -> None:
    program = Program(database_url, tmp_path / "data")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "serve", "--port", str(program.port)],
            env={"DATABASE_URL": database_url, "DEID_DATA_DIR": str(tmp_path / "other")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        program.stop()

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{program.port}" in done.stderr


def test_paths_are_written_for_a_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert shown(tmp_path / "a b") == "'a b'"
    assert shown(Path("/elsewhere")) == "/elsewhere"


def test_a_private_file_is_the_owners_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "token", "secret\n")

    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
