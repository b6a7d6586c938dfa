"""Sends objects until each is answered, and counts what became of every request."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

import httpx
import psycopg
import pydicom

from app.vault.keys import GatewayKeys
from app.vault.pseudonyms import Pseudonyms
from tests import builders
from tests.batches.station import objects, uid_of

WHO = builders.Identity()
SECRETS = tuple(
    text.encode() for text in (WHO.patient_id, WHO.accession, WHO.family, WHO.referring)
)


@dataclass
class Figures:
    """What became of the requests of one run.

    Attributes:
        sent: requests, repetitions counted.
        answered: with the object, whole.
        refused: with 503 and when to come again.
        cut: without an answer, because the process was killed.
        faulty: with anything else.
        mismatched: answered with another object's result.
        leaked: answered with an original value.
        unanswered: objects that were never answered.
    """

    sent: int = 0
    answered: int = 0
    refused: int = 0
    cut: int = 0
    faulty: list[str] = field(default_factory=list)
    mismatched: int = 0
    leaked: int = 0
    unanswered: int = 0

    def __str__(self) -> str:
        return (
            f"sent {self.sent}, answered {self.answered}, refused {self.refused}, "
            f"cut {self.cut}, faulty {len(self.faulty)}, mismatched {self.mismatched}, "
            f"leaked {self.leaked}, unanswered {self.unanswered}"
        )


class Driver:
    """Several lanes that send objects one after another.

    Args:
        url: of the gateway.
        token: with the scope anonymize.
        keys: of the gateway, to know what each answer has to be.
        lanes: how many send at once.
    """

    def __init__(self, url: str, token: str, keys: GatewayKeys, *, lanes: int = 8) -> None:
        self.figures = Figures()
        self._url = f"{url}/anonymize-stream"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"}
        self._pseudonyms = Pseudonyms(keys.organization_root("DEMO"), "DEMO")
        self._lanes = lanes
        self._next = 0
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []
        # What was answered: uid of the result, the request's id, the study's id.
        self.answers: list[tuple[str, str, str]] = []
        self._bytes: dict[str, str] = {}

    async def __aenter__(self) -> "Driver":
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        _, late = await asyncio.wait(self._tasks, timeout=90)
        for task in late:
            self.figures.unanswered += 1
            task.cancel()
        for task in set(self._tasks) - late:
            task.result()

    async def until_answered(self, more: int, *, within_s: float = 60) -> None:
        """Wait for so many further answers."""
        wanted = self.figures.answered + more
        async with asyncio.timeout(within_s):
            while self.figures.answered < wanted:  # noqa: ASYNC110 - counted by the lanes
                await asyncio.sleep(0.005)

    async def until_refused(self, more: int, *, within_s: float = 60) -> None:
        """Wait for so many further refusals."""
        wanted = self.figures.refused + more
        async with asyncio.timeout(within_s):
            while self.figures.refused < wanted:  # noqa: ASYNC110 - counted by the lanes
                await asyncio.sleep(0.005)

    async def _lane(self) -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            while not self._is_over:
                number, self._next = self._next, self._next + 1
                [data] = objects(1, first=number)
                while not await self._is_answered(client, number, data):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def _is_answered(self, client: httpx.AsyncClient, number: int, data: bytes) -> bool:
        self.figures.sent += 1
        try:
            answer = await client.post(self._url, content=data, headers=self._headers)
        except httpx.TransportError:
            self.figures.cut += 1
            return False
        self._check_leaks(answer)
        if answer.status_code == 200:
            self._check(answer, number)
            return True
        if answer.status_code == 503 and "Retry-After" in answer.headers:
            self.figures.refused += 1
        else:
            self.figures.faulty.append(f"{answer.status_code} {answer.text}")
        return False

    def _check_leaks(self, answer: httpx.Response) -> None:
        text = answer.content + repr(answer.headers).encode()
        self.figures.leaked += any(secret in text for secret in SECRETS)

    def _check(self, answer: httpx.Response, number: int) -> None:
        self.figures.answered += 1
        dataset = pydicom.dcmread(BytesIO(answer.content), stop_before_pixels=True)  # noqa: TID251
        uid = str(dataset.SOPInstanceUID)
        study = answer.headers["X-Cloud-Study-Id"]
        is_whole = len(answer.content) == int(answer.headers["Content-Length"])
        is_right = uid == self._pseudonyms.uid(uid_of(number)) and study == dataset.AccessionNumber
        self.figures.mismatched += not (is_whole and is_right and self._is_the_same(uid, answer))
        self.answers.append((uid, answer.headers["X-Request-Id"], study))

    def _is_the_same(self, uid: str, answer: httpx.Response) -> bool:
        """Objects that came twice have to give the same bytes."""
        digest = hashlib.blake2b(answer.content).hexdigest()
        return self._bytes.setdefault(uid, digest) == digest


def lost(answers: list[tuple[str, str, str]], database_url: str) -> list[str]:
    """Results that were answered without a committed mapping or without their audit row."""
    with psycopg.connect(database_url) as connection:
        mapped = {f"2.25.{uid.int}" for (uid,) in connection.execute("SELECT uid FROM instances")}
        audited = {
            request_id
            for (request_id,) in connection.execute(
                "SELECT request_id FROM audit_events"
                " WHERE action = 'anonymize' AND outcome = 'success'"
            )
        }
    return [uid for uid, request, _ in answers if uid not in mapped or request not in audited]


def check(driver: Driver, database_url: str) -> None:
    """See that nothing was lost, mixed up or leaked, and that everybody was answered at last."""
    figures = driver.figures
    print(figures)  # noqa: T201 - shown with -s, and when something fails
    assert (figures.mismatched, figures.leaked, figures.unanswered) == (0, 0, 0)
    assert figures.faulty == []
    assert lost(driver.answers, database_url) == []


@contextmanager
def nothing_original_in(text_of) -> Iterator[None]:
    """See that a log holds no original value afterwards."""
    yield
    text = text_of().encode()
    assert not [secret for secret in SECRETS if secret in text]
