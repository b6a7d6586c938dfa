"""From a viewer's upload to the browser and back: what a person drew is what the viewer gets."""

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app import bootstrap
from app.settings import Settings
from tests.api.conftest import House
from tests.api.review.conftest import Seat
from tests.pipeline.echo import echo, encoded

pytestmark = pytest.mark.db
PROFILE = "{name: cleaning, options: [basic, clean_pixel_data]}"
UNKNOWN = {"Manufacturer": "NARWHAL", "ManufacturerModelName": "Sonar 1"}
DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture
async def house(
    configured: Callable[..., Settings], database_url: str, logs: io.StringIO, tmp_path: Path
) -> AsyncIterator[House]:
    """Serve a site that cleans pixels, and without a reader of text."""
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "site.yaml").write_text(PROFILE)
    given = configured(profiles_dir=profiles, ocr_processes=0)
    async with bootstrap.opened(given) as gateway:
        yield House(gateway, database_url, logs)


async def test_what_was_drawn_in_the_browser_is_black_in_what_the_viewer_gets(
    seat: Seat, house: House, address: str
) -> None:
    data = encoded(echo(**UNKNOWN))
    viewer = DICOM | await house.headers("viewer", scopes=["anonymize"], profile="cleaning")
    original = dcmread(io.BytesIO(data)).pixel_array
    rows, columns = original.shape[-2:]

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(timeout=60) as client:
            return await client.post(f"{address}/anonymize-stream", content=data, headers=viewer)

    def work(page: Page) -> None:
        page.goto(f"{address}/review")
        page.get_by_role("link", name="Look at the object").click()
        page.locator("#stage[data-shown='1']").wait_for()
        area = page.locator("#overlay").bounding_box()
        middle = area["y"] + area["height"] * 5 / 8
        page.mouse.move(area["x"] - 5, middle)
        page.mouse.move(area["x"] + 1, middle)
        page.mouse.down()
        page.mouse.move(area["x"] + area["width"] + 9, area["y"] + area["height"] + 9, steps=4)
        page.mouse.up()
        page.get_by_role("button", name="Mask", exact=True).click()
        page.get_by_text("Nothing waits.").wait_for()

    held = await send()
    await seat.do(work)
    passed = await send()

    assert (held.status_code, held.json()["code"]) == (422, "quarantined")
    assert passed.status_code == 200, passed.text
    made = dcmread(io.BytesIO(passed.content)).pixel_array
    black = rows * 5 // 8
    assert not made[..., black + 1 :, 1:columns].any()
    assert (made[..., : black - 1, :] == original[..., : black - 1, :]).all()
