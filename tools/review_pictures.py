"""Makes the pictures of the review page in ``docs/images`` anew, in a browser without a window.

A gateway of its own holds synthetic ultrasound images with invented text; nothing stays of it.
``python tools/review_pictures.py`` writes the pictures.
"""

import asyncio
import contextlib
import io
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import uvicorn  # noqa: E402
from PIL import Image, ImageDraw, ImageFilter  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from app import bootstrap, settings  # noqa: E402
from app.api.application import create_app  # noqa: E402
from app.audit.events import AuditEvent  # noqa: E402
from app.bootstrap import Gateway  # noqa: E402
from app.dicom.source import MemorySource  # noqa: E402
from app.pixels.model import (  # noqa: E402
    Box,
    Decision,
    Mark,
    Picture,
    Reason,
    Risk,
    Rung,
    Verdict,
)
from app.pixels.rulings import Case, SourceKind  # noqa: E402
from tools import browser  # noqa: E402

PICTURES: Final = ROOT / "docs" / "images"
COLUMNS, ROWS, FRAMES = 640, 480, 12
COLOURS: Final = 160
_NAME = Mark(Box(404, 64, 582, 86), Rung.OCR, "patient-name", 0.97)
_DATE = Mark(Box(404, 90, 512, 112), Rung.OCR, "date", 0.88, (0, 0))
_TOP = Mark(Box(0, 0, COLUMNS, 40), Rung.REGIONS)


def frame(number: int) -> bytes:
    """Draw a fan of speckle with invented text, as a scanner's screen has it."""
    noise = random.Random(number)  # noqa: S311 - a picture
    speckle = Image.new("L", (COLUMNS // 2, ROWS // 2))
    speckle.putdata([min(255, int(noise.expovariate(1 / 90))) for _ in range(COLUMNS * ROWS // 4)])
    fan = Image.new("L", (COLUMNS, ROWS))
    pen = ImageDraw.Draw(fan)
    pen.pieslice((-60, -290, 700, 470), 50, 130, fill=190)
    pen.ellipse((255, 260, 375, 360), fill=60)
    tissue = speckle.resize((COLUMNS, ROWS)).filter(ImageFilter.GaussianBlur(2.2))
    screen = Image.composite(tissue, Image.new("L", (COLUMNS, ROWS), 4), fan)
    pen = ImageDraw.Draw(screen)
    pen.text((408, 65), "INVENTED^NAME", fill=230, font_size=17)
    if not number:
        pen.text((408, 91), "1970-01-31", fill=230, font_size=17)
    pen.text((12, 10), f"FRAME {number + 1}   MI 1.2", fill=200, font_size=15)
    return screen.tobytes()


def held_object(number: int) -> bytes:
    """Return an object with these frames."""
    from tests import builders  # noqa: PLC0415 - the path is set by then

    dataset = builders.ct(builders.Identity())
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.3.1", "US"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = ROWS, COLUMNS, FRAMES
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.InstanceNumber = 7, number
    dataset.PixelData = b"".join(frame(index) for index in range(FRAMES))
    dataset["PixelData"].VR = "OB"
    return builders.part10(dataset)


async def hold(gateway: Gateway, number: int, source_kind: SourceKind) -> None:
    """Hold one object as the ladder would."""
    quarantine = gateway.quarantine
    if quarantine is None:
        raise SystemExit("this gateway has no quarantine")
    reasons = (
        Reason(Rung.RISK, "sop-class", "ultrasound"),
        Reason(Rung.REGIONS, "outside-regions"),
        Reason(Rung.OCR, "identifying-text", "patient-name", 0, 0.97),
        Reason(Rung.OCR, "identifying-text", "date", 0, 0.88),
    )
    source = MemorySource(held_object(number))
    case = Case(
        organization="DEMO",
        profile="basic",
        profile_version="0123456789ab",
        digest=quarantine.digest("DEMO", source),
        picture=Picture(
            sop_class="1.2.840.10008.5.1.4.1.1.3.1",
            transfer_syntax="1.2.840.10008.1.2.1",
            modality="US",
            rows=ROWS,
            columns=COLUMNS,
            frames=FRAMES,
            photometric="MONOCHROME2",
            manufacturer="Example",
            model="Invented 1",
        ),
        decision=Decision(Verdict.QUARANTINE, Risk.HIGH, (_TOP, _NAME, _DATE), reasons),
        actor="viewer",
        source_kind=source_kind,
    )
    await quarantine.hold(source, case)


async def propose_rule(gateway: Gateway) -> None:
    """Let somebody mask one object and remember it."""
    from app.quarantine.records import Wanted  # noqa: PLC0415 - beside its use

    review = gateway.review
    if review is None:
        raise SystemExit("this gateway has no review")
    (held,) = await review.listed("DEMO", Wanted(limit=1))
    event = AuditEvent(action="", organization="DEMO", actor="anna")
    await review.remember(event, held.object_id, [Mark(_TOP.box, Rung.REVIEW)])


@contextlib.asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    """Serve on a free port of the loopback interface."""
    config = uvicorn.Config(
        create_app(gateway.services()), port=0, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag, no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


def photograph(address: str, token: str) -> None:
    """Walk through the pages and keep a picture of each."""
    found = browser.provide()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found.path, env={**found.environment})
        for scheme, suffix in (("light", ""), ("dark", "-dark")):
            context = chromium.new_context(
                viewport={"width": 1280, "height": 720},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page = context.new_page()
            page.goto(f"{address}/review")
            page.get_by_label("API key").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("link", name="Look at the object").first.wait_for()
            if not suffix:
                keep(page, "review-list")
            page.get_by_role("link", name="Look at the object").first.click()
            page.locator("#stage[data-shown='1']").wait_for()
            page.get_by_role("button", name="Mask 2:").focus()
            keep(page, f"review-object{suffix}")
            if not suffix:
                page.get_by_role("link", name="Mask rules").click()
                page.get_by_role("heading", name="Mask rules").wait_for()
                keep(page, "review-rules")
            context.close()
        chromium.close()


def keep(page: Page, name: str) -> None:
    """Write what the page shows, in few colours."""
    shown = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    small = shown.quantize(COLOURS, dither=Image.Dither.NONE)
    PICTURES.mkdir(exist_ok=True)
    small.save(PICTURES / f"{name}.png", optimize=True)
    print(PICTURES / f"{name}.png")


async def main(data_dir: Path) -> None:
    """Make the pictures."""
    async with bootstrap.opened(settings.load(data_dir=data_dir)) as gateway:
        for number, kind in enumerate((SourceKind.STREAM, SourceKind.BATCH, SourceKind.STREAM)):
            await hold(gateway, number, kind)
        await propose_rule(gateway)
        _, token = await gateway.api_keys.create(
            name="bert", organization="DEMO", scopes=["review"]
        )
        async with serving(gateway) as address:
            with ThreadPoolExecutor(1) as thread:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(thread, photograph, address, token)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="review-pictures-") as directory:
        Path(directory).chmod(0o755)  # the database's own user has to get through
        asyncio.run(main(Path(directory) / "data"))
