"""A batch from the command line by a gateway: the client, on scripted answers and a real one."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.cli import batch_remote
from app.cli.batch_order import Order, SourceKind
from app.cli.batch_remote import Client, Refused, Unreachable, events_of, plain
from app.cli.batch_view import View
from app.samples import write_sample_study
from tests.api.test_uploads import Program
from tests.cli.conftest import Invoke
from tests.cli.test_serve import wait_for_workers

ROOT = Path(__file__).parents[2]
BATCH_ID = "0b0e7a0e-9d5c-4a55-8f4e-2f4d1c2b3a49"
COUNTS = dict.fromkeys(
    ("waiting", "succeeded", "duplicate", "ignored", "refused", "failed", "published"), 0
)


def batch(state: str, version: int) -> dict:
    return {
        "batch_id": BATCH_ID,
        "state": state,
        "success": state == "succeeded",
        "version": version,
        "rate": None,
        "estimated_end_at": None,
        "is_scanned": False,
        "total_files": 0,
        "successful_files": 0,
        "counts": COUNTS,
        "problems": {},
    }


def event(state: str, version: int) -> str:
    return f"id: {version}\nevent: progress\ndata: {json.dumps(batch(state, version))}\n\n"


def problem(status: int, code: str, detail: str = "It says no") -> httpx.Response:
    return httpx.Response(status, json={"detail": detail, "code": code})


class Script:
    """A gateway that answers one request after the other as it is told, and keeps them."""

    def __init__(self, *answers: httpx.Response | BaseException) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def client(self, **options: object) -> Client:
        http = httpx.Client(
            base_url="http://gateway.test/below", transport=httpx.MockTransport(self)
        )
        return Client(http, View(), **{"sleep": lambda _: None, **options})


@pytest.fixture
def order() -> Callable[..., Order]:
    def make(**asked: object) -> Order:
        usual = {
            "source": "/srv/incoming/study",
            "kind": SourceKind.DIRECTORY,
            "destination": None,
            "organization": None,
            "profile": None,
            "priority": "STAT",
            "on_error": "hold",
            "watch": True,
            "fhir": False,
            "callback": None,
            "idempotency_key": "key-1",
        }
        return Order(**{**usual, **asked})

    return make


def test_what_is_asked_for_is_handed_over_with_its_key(order: Callable[..., Order]) -> None:
    script = Script(httpx.Response(202, json=batch("queued", 1)))

    taken = script.client().hand_in(order(destination="archive", callback="https://ris.example/"))

    request = script.asked[0]
    assert taken["batch_id"] == BATCH_ID
    assert request.url == "http://gateway.test/below/batch-prepare"
    assert request.headers["Idempotency-Key"] == "key-1"
    assert json.loads(request.content) == {
        "study_directory": "/srv/incoming/study",
        "destination": "archive",
        "callback_url": "https://ris.example/",
        "priority": "STAT",
        "on_error": "hold",
        "fhir": False,
    }


def test_an_archive_is_sent_as_it_is(order: Callable[..., Order], tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    archive.write_bytes(b"PK" + bytes(3 << 20))
    script = Script(httpx.ConnectError("refused"), httpx.Response(202, json=batch("queued", 1)))

    script.client().hand_in(order(source=str(archive), kind=SourceKind.ARCHIVE, fhir=True))

    request = script.asked[1]
    assert request.content == archive.read_bytes()
    assert request.headers["Content-Type"] == "application/zip"
    assert request.headers["Content-Length"] == str(archive.stat().st_size)
    assert dict(request.url.params) == {"priority": "STAT", "on_error": "hold", "fhir": "true"}


def test_a_stream_that_breaks_off_is_taken_up_where_it_was() -> None:
    script = Script(
        httpx.Response(200, text="retry: 2000\n\n" + event("processing", 2)),
        httpx.ReadError("broken"),
        problem(503, "database-unavailable"),
        httpx.Response(502, text="<html>a proxy</html>"),
        httpx.Response(200, text=": still here\n\n" + event("succeeded", 5)),
    )

    ended = script.client().follow(batch("queued", 1))

    seen = [request.headers["Last-Event-ID"] for request in script.asked]
    assert ended["state"] == "succeeded"
    assert seen == ["1", "2", "2", "2", "2"]


def test_a_batch_that_ended_meanwhile_is_asked_for() -> None:
    script = Script(httpx.Response(204), httpx.Response(200, json=batch("partial", 9)))

    ended = script.client().follow(batch("processing", 9))

    assert ended["state"] == "partial"
    assert script.asked[1].url.path == f"/below/batches/{BATCH_ID}"


def test_a_gateway_that_stays_away_is_given_up() -> None:
    script = Script(*[httpx.ConnectError("refused")] * 3)

    with pytest.raises(Unreachable) as given_up:
        script.client(patience_at_first_s=-1).follow(batch("queued", 1))

    assert given_up.value.exit_code == 3
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>some other server</html>"),
        httpx.Response(200, json=["a list"]),
        httpx.Response(404, text="no such page"),
    ],
    ids=["page", "list", "absent"],
)
def test_what_is_no_gateway_is_told_apart(
    order: Callable[..., Order], answer: httpx.Response
) -> None:
    with pytest.raises(Unreachable, match="no gateway"):
        Script(answer).client().hand_in(order())


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "not-authenticated"), (409, "idempotency-key-reused"), (503, "role-not-served")],
)
def test_a_refusal_is_told_with_its_code_and_not_tried_again(
    order: Callable[..., Order], status: int, code: str
) -> None:
    script = Script(problem(status, code))

    with pytest.raises(Refused, match=rf"It says no \({code}\)") as refused:
        script.client().hand_in(order())

    assert refused.value.exit_code == 1


def test_a_foreign_text_cannot_move_the_cursor() -> None:
    assert plain("a\x1b[2Jb\r\nc") == "a[2Jbc"


def test_events_are_read_whatever_stands_between_them() -> None:
    text = ': comment\nid: 7\ndata: {"a":\ndata: 1}\n\n\n\nevent: x\n\ndata:{"a": 2}\n\n'

    found = list(events_of(iter(text.split("\n"))))

    assert [batch["a"] for batch in found] == [1, 2]


def test_nothing_that_a_gateway_says_of_a_batch_can_move_the_cursor() -> None:
    answer = batch("queued", 1) | {"detail": "\x1b]0;title\x07", "problems": {"co\x1bde": 1}}

    taken = Script().client()._asked(lambda: httpx.Response(200, json=answer))

    assert (taken["detail"], taken["problems"]) == ("]0;title", {"code": 1})


# --- A real gateway ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def gateway(module_database_url: str, directory: Path) -> Iterator[Program]:
    program = Program(module_database_url, directory / "data", workers=1)
    yield program
    program.stop()


@pytest.fixture
def study(directory: Path) -> Path:
    path = directory / "data" / "incoming" / "study"
    if not path.exists():
        write_sample_study(path)
    return path


@pytest.fixture
def hand_over(
    gateway: Program, directory: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> Invoke:
    token = (directory / "data" / "keys" / "development.token").read_text().strip()
    monkeypatch.setenv("GATEWAY_API_KEY", token)
    address = f"http://127.0.0.1:{gateway.port}"
    return lambda *arguments: invoke("batch", *arguments, "--gateway", address)


@pytest.mark.db
def test_a_directory_of_the_gateway_is_followed_to_its_end(hand_over: Invoke, study: Path) -> None:
    done = hand_over(study)

    assert done.exit_code == 0, done.output
    assert re.search(r"published +│ +7 ", done.stdout)
    assert "manifest: /" in done.stdout


@pytest.mark.db
def test_a_batch_that_is_held_ends_with_another_code(
    hand_over: Invoke, study: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as writing:
        writing.write(study / "report.dcm", "report.dcm")
        writing.writestr("damaged.dcm", (study / "ct-1-1.dcm").read_bytes()[:-1000])

    done = hand_over(archive)

    assert done.exit_code == 1, done.output
    assert re.search(r"state +│ held", done.stdout)
    assert re.search(r"truncated +│ 1", done.stdout)


@pytest.mark.db
def test_a_batch_that_nobody_watches_is_only_handed_in(hand_over: Invoke, study: Path) -> None:
    done = hand_over(study, "--no-watch", "--idempotency-key", "unwatched")

    assert done.exit_code == 0
    assert "idempotency key unwatched" in done.stderr
    assert done.stdout == ""


@pytest.mark.db
def test_a_key_that_does_not_hold_is_a_refusal(
    gateway: Program, invoke: Invoke, study: Path, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("dgw_00000000_none\n")
    address = f"http://127.0.0.1:{gateway.port}"

    done = invoke("batch", study, "--gateway", address, "--api-key-file", file)

    assert done.exit_code == 1
    assert "(not-authenticated)" in done.stderr


@pytest.mark.db
def test_an_interrupted_client_says_that_the_gateway_goes_on(
    gateway: Program, directory: Path, study: Path
) -> None:
    key = directory / "data" / "keys" / "development.token"
    command = ["batch", str(study), "--gateway", f"http://127.0.0.1:{gateway.port}"]
    (worker,) = wait_for_workers(gateway.process.pid, 1)
    os.kill(worker, signal.SIGSTOP)  # so that the batch does not end meanwhile
    try:
        # Tests that run in the background ignore the signal, and so would their children.
        as_by_hand = ["env", "--default-signal=INT", sys.executable, "-m", "app.cli"]
        with subprocess.Popen(
            [*as_by_hand, *command, "--api-key-file", str(key)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as client:
            said = client.stderr.readline()
            client.send_signal(signal.SIGINT)
            try:
                _, rest = client.communicate(timeout=30)
            finally:
                client.kill()
    finally:
        os.kill(worker, signal.SIGCONT)

    assert client.returncode == 130
    assert said.startswith("batch ")
    assert "The gateway goes on with the batch." in rest
    assert "Traceback" not in rest


def test_who_interrupts_may_cancel(
    order: Callable[..., Order],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = Script(
        httpx.Response(202, json=batch("queued", 1)),
        KeyboardInterrupt(),
        httpx.Response(200, json=batch("cancelled", 2)),
    )
    monkeypatch.setattr(batch_remote, "wants_to_cancel", lambda: True)

    code = batch_remote.followed(order(), script.client(), View())

    assert code == 130
    assert script.asked[-1].url.path == f"/below/batches/{BATCH_ID}/cancel"
    assert "cancelled" in capsys.readouterr().err


def test_who_interrupts_before_the_answer_learns_the_key(
    order: Callable[..., Order], capsys: pytest.CaptureFixture[str]
) -> None:
    code = batch_remote.followed(order(), Script(KeyboardInterrupt()).client(), View())

    assert code == 130
    assert "--idempotency-key key-1" in capsys.readouterr().err
