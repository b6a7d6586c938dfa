"""Files that pages load: the style sheet, the icon, the modules of the script."""

import re

import pytest

from app.api.review import pages
from tests.api.review.desk import Browser

pytestmark = pytest.mark.db
FOLDER = pages.address_of("")


async def test_files_that_pages_load_are_kept_by_browsers(anybody: Browser) -> None:
    page = (await anybody.get("/review/sign-in")).text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]

    answer = await anybody.client.get(address)

    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("name", ["routes.py", "..%2Froutes.py", "object.html", ""])
async def test_no_other_file_is_served(anybody: Browser, name: str) -> None:
    assert (await anybody.client.get(f"{FOLDER}{name}")).status_code == 404


async def test_files_of_another_version_are_neither_served_nor_kept(anybody: Browser) -> None:
    answer = await anybody.client.get("/review/static/0123456789ab/review.css")

    assert answer.status_code == 404
    assert answer.headers["Cache-Control"] == "no-store"


async def test_modules_import_each_other_and_nothing_else(anybody: Browser) -> None:
    imported = {"review.js"}

    for name in pages.SCRIPTS:
        answer = await anybody.client.get(f"{FOLDER}{name}")
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        imported |= set(re.findall(r'"\./([^"]+)";', answer.text))

    assert imported == set(pages.SCRIPTS)
    assert imported == {file.name for file in (pages.HERE / "static").glob("*.js")}
