"""Synthetic images with invented text, held for review in a gateway under test."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import UUID

import httpx
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from app.access.api_keys import ApiKeys
from app.bootstrap import Gateway
from app.dicom.source import MemorySource
from app.pixels.model import Box, Decision, Mark, Picture, Reason, Risk, Rung, Verdict
from app.pixels.rulings import Case
from tests import builders

ROWS, COLUMNS = 120, 160
TEXT = "INVENTED^NAME"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
MARKS = (
    Mark(Box(0, 0, COLUMNS, 14), Rung.REGIONS),
    Mark(Box(20, 30, 110, 44), Rung.OCR, "patient-name", 0.93),
)
REASONS = (
    Reason(Rung.RISK, "sop-class", "ultrasound"),
    Reason(Rung.OCR, "identifying-text", "patient-name", frame=0, confidence=0.93),
)


def image(frames: int = 1) -> Dataset:
    """An ultrasound image that says an invented name in every frame, and which frame it is."""
    dataset = builders.ct(builders.Identity())
    dataset.SOPClassUID, dataset.Modality = ULTRASOUND, "US"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = ROWS, COLUMNS, frames
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = b"".join(_frame(number) for number in range(frames))
    dataset["PixelData"].VR = "OB"
    return dataset


def _frame(number: int) -> bytes:
    drawn = Image.new("L", (COLUMNS, ROWS), 30)
    pen = ImageDraw.Draw(drawn)
    pen.text((22, 31), TEXT, fill=255)
    pen.text((4, 2), f"FRAME {number + 1}", fill=200)
    return drawn.tobytes()


def picture(frames: int = 1, *, model: str = "Invented 1") -> Picture:
    """What the header of such an image says."""
    return Picture(
        sop_class=ULTRASOUND,
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="US",
        rows=ROWS,
        columns=COLUMNS,
        frames=frames,
        photometric="MONOCHROME2",
        manufacturer="Example",
        model=model,
    )


@dataclass
class Desk:
    """Holds images in a gateway, each with bytes of its own."""

    gateway: Gateway
    sent: int = field(default=0)

    async def hold(
        self,
        *,
        frames: int = 1,
        marks: Sequence[Mark] = MARKS,
        shown: Picture | None = None,
        actor: str = "viewer",
        organization: str = "DEMO",
    ) -> UUID:
        quarantine = self.gateway.quarantine
        assert quarantine is not None
        self.sent += 1
        dataset = image(frames)
        dataset.InstanceNumber = self.sent
        source = MemorySource(builders.part10(dataset))
        case = Case(
            organization=organization,
            profile="basic",
            profile_version="0123456789ab",
            digest=quarantine.digest(organization, source),
            picture=shown or picture(frames),
            decision=Decision(Verdict.QUARANTINE, Risk.HIGH, tuple(marks), REASONS),
            actor=actor,
        )
        return await quarantine.hold(source, case)

    @property
    def api_keys(self) -> ApiKeys:
        return self.gateway.api_keys

    async def key(self, name: str = "reviewer", **properties) -> str:
        properties.setdefault("scopes", ["review"])
        properties.setdefault("organization", "DEMO")
        _, token = await self.gateway.api_keys.create(name=name, **properties)
        return token


class Browser:
    """What a browser without scripts does: it keeps the cookie and fills in forms."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.csrf = ""

    async def get(self, path: str) -> httpx.Response:
        answer = await self.client.get(path)
        _, found, rest = answer.text.partition('name="csrf" value="')
        self.csrf = rest.partition('"')[0] if found else self.csrf
        return answer

    async def post(self, path: str, **fields: str) -> httpx.Response:
        return await self.client.post(
            path,
            content=urlencode({"csrf": self.csrf, **fields}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    async def sign_in(self, token: str) -> httpx.Response:
        await self.get("/review/sign-in")
        answer = await self.post("/review/sign-in", key=token)
        if answer.status_code == 303:
            await self.get("/review")
        return answer

    async def sign_in_anew(self, token: str) -> None:
        await self.get("/review")
        await self.post("/review/sign-out")
        await self.sign_in(token)
