"""The review page in a real browser: drawing, deciding, keyboard, conflicts, idle screens."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from app.api.review_sessions import IDLE_S
from app.audit.events import AuditEvent
from app.pixels.model import Box, Mark, Rung
from app.pixels.rulings import Act
from app.quarantine.records import Held, State, Wanted
from tests.api.conftest import House
from tests.api.review.conftest import Seat, Sit
from tests.api.review.desk import COLUMNS, MARKS, ROWS, Desk

pytestmark = pytest.mark.db
Step = Callable[[Page], object]


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the image is on the screen."""
    area = page.locator("#overlay").bounding_box()
    assert area is not None
    return area["x"] + x * area["width"] / COLUMNS, area["y"] + y * area["height"] / ROWS


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=5)
    page.mouse.up()


def boxes(page: Page) -> list[Box]:
    return [Box(**mark["box"]) for mark in json.loads(page.locator("#marks").input_value())]


def frames(page: Page) -> list[list[int] | None]:
    return [mark["frames"] for mark in json.loads(page.locator("#marks").input_value())]


def press(*keys: str) -> Step:
    def work(page: Page) -> None:
        for key in keys:
            page.keyboard.press(key)

    return work


def near(found: Box, expected: Box) -> bool:
    """Whether two boxes are the same but for the pixel in which a drag was let go."""
    pairs = zip(
        (found.left, found.top, found.right, found.bottom),
        (expected.left, expected.top, expected.right, expected.bottom),
        strict=True,
    )
    return all(abs(one - other) <= 1 for one, other in pairs)


async def held(house: House) -> list[Held]:
    return await house.gateway.review.listed("DEMO", Wanted())


async def test_a_mask_is_drawn_with_the_mouse_and_the_object_is_gone(
    sit: Sit, desk: Desk, house: House
) -> None:
    await desk.hold(marks=[])
    seat = await sit()
    await seat.sign_in(await desk.key("anna"))

    def work(page: Page) -> Box:
        page.get_by_role("link", name="Look at the object").click()
        page.locator("#stage[data-shown='1']").wait_for()
        drag(page, (20, 30), (110, 44))
        page.get_by_role("button", name="Mask", exact=True).click()
        page.get_by_text("Nothing waits.").wait_for()
        return page.get_by_text("Masked. Whoever sends").count()

    said = await seat.do(work)
    (done,) = await held(house)

    assert said == 1
    assert (done.state, done.decided_by) == (State.MASKED, "anna")
    assert near(done.marks[0].box, Box(20, 30, 110, 44))
    assert done.marks[0].rung is Rung.REVIEW


async def test_masks_are_moved_resized_deleted_and_all_of_it_is_undone(
    seat: Seat, desk: Desk
) -> None:
    await seat.look_at(await desk.hold())

    def work(page: Page) -> list[list[Box]]:
        seen = []
        drag(page, (60, 37), (70, 57))
        seen.append(boxes(page))
        drag(page, (120, 64), (130, 84))  # the handle at the lower right
        seen.append(boxes(page))
        page.keyboard.press("Delete")
        seen.append(boxes(page))
        for _ in range(3):
            page.get_by_role("button", name="Undo").click()
        seen.append(boxes(page))
        for _ in range(3):
            page.get_by_role("button", name="Redo").click()
        seen.append(boxes(page))
        return seen

    moved, resized, deleted, undone, redone = await seat.do(work)

    assert near(moved[1], Box(30, 50, 120, 64))
    assert near(resized[1], Box(30, 50, 130, 84))
    assert deleted == [MARKS[0].box]
    assert undone == [mark.box for mark in MARKS]
    assert redone == deleted


async def test_masks_are_where_they_were_drawn_however_large_the_image_is_shown(
    seat: Seat, desk: Desk
) -> None:
    await seat.look_at(await desk.hold(marks=[]))

    def work(page: Page) -> tuple[list[Box], float]:
        for _ in range(3):
            page.get_by_role("button", name="Larger").click()
        page.locator("#stage").evaluate("stage => stage.scrollTo(0, 0)")
        drag(page, (5, 6), (25, 18))
        page.keyboard.press("1")
        drag(page, (100, 90), (150, 110))
        return boxes(page), page.locator("#overlay").bounding_box()["width"]

    (large, small), width = await seat.do(work)

    assert near(large, Box(5, 6, 25, 18))
    assert near(small, Box(100, 90, 150, 110))
    assert width == COLUMNS


async def test_no_mask_leaves_the_image(seat: Seat, desk: Desk) -> None:
    await seat.look_at(await desk.hold(marks=[]))

    def work(page: Page) -> list[Box]:
        drag(page, (150, 110), (175, 118))
        drag(page, (155, 115), (300, 20))
        page.keyboard.press("Shift+ArrowRight")
        return boxes(page)

    found = await seat.do(work)

    assert found
    assert all(box.clipped(COLUMNS, ROWS) == box and box.area for box in found)


async def test_everything_can_be_done_with_the_keyboard(
    seat: Seat, desk: Desk, house: House
) -> None:
    await seat.look_at(await desk.hold(frames=3, marks=[]))

    def draw(page: Page) -> tuple[Box, list[list[int] | None]]:
        press("n", "ArrowRight", "Shift+ArrowDown", "Control+ArrowLeft", ".", ".")(page)
        page.get_by_text("3 of 3").wait_for()
        page.locator("#stage[data-shown='3']:not([aria-busy])").wait_for()
        press("n", "f", "n", "Delete")(page)
        return boxes(page)[0], frames(page)

    first, ranges = await seat.do(draw)
    shown = await seat.do(lambda page: (press("?")(page), page.locator("#keys").is_visible())[1])
    await seat.do(press("Escape", "m"))
    await seat.do(lambda page: page.get_by_text("Nothing waits.").wait_for())
    (done,) = await held(house)

    assert (first.right - first.left, first.bottom - first.top) == (31, 10)
    assert ranges == [None, [2, 2]]
    assert shown
    assert [mark.frames for mark in done.marks] == [None, (2, 2)]


async def test_tab_walks_through_the_masks_and_says_what_they_are(seat: Seat, desk: Desk) -> None:
    await seat.look_at(await desk.hold())

    def work(page: Page) -> list[str]:
        page.locator("#stage").focus()
        names = []
        for _ in MARKS:
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        return names

    first, second = await seat.do(work)

    assert first.startswith("Mask 1: 160 ")
    assert second.endswith("a patient's name, 93 % sure")


async def test_masks_of_other_frames_are_not_shown(seat: Seat, desk: Desk) -> None:
    await seat.look_at(
        await desk.hold(frames=3, marks=[Mark(MARKS[1].box, Rung.OCR, "date", 0.5, (1, 1))])
    )

    def work(page: Page) -> list[bool]:
        mask = page.get_by_role("button", name="Mask 1:")
        seen = [mask.is_visible()]
        page.get_by_label("Frame", exact=True).fill("2")
        page.get_by_text("2 of 3").wait_for()
        page.locator("#stage[data-shown='2']").wait_for()
        seen.append(mask.is_visible())
        page.get_by_role("button", name="Next frame").click()
        page.get_by_text("3 of 3").wait_for()
        seen.append(mask.is_visible())
        page.get_by_role("button", name="frame 2, a date").click()
        page.get_by_text("2 of 3").wait_for()
        seen.append(mask.is_visible())
        return seen

    assert await seat.do(work) == [False, True, False, True]


async def test_a_release_says_what_was_not_looked_at(seat: Seat, desk: Desk, house: House) -> None:
    await seat.look_at(await desk.hold(frames=3))

    def ask(page: Page) -> str:
        page.get_by_role("button", name="Release").click()
        said = page.locator("#ask-warning").inner_text()
        page.keyboard.press("Enter")  # goes back: nothing is released by leaning on a key
        page.locator("#ask").wait_for(state="hidden")
        return said

    def release(page: Page) -> None:
        press("r")(page)
        page.get_by_role("button", name="Release, nothing identifies").click()
        page.get_by_text("Nothing waits.").wait_for()

    said = await seat.do(ask)
    before = (await held(house))[0].state
    await seat.do(release)

    assert said == (
        "You have looked at 1 of 3 frames. The 2 masks that you see will not be applied."
    )
    assert before is State.HELD
    assert (await held(house))[0].state is State.RELEASED


async def test_rejecting_shows_the_next_object(seat: Seat, desk: Desk, house: House) -> None:
    waiting, rejected = await desk.hold(), await desk.hold()
    await seat.look_at(rejected)

    def work(page: Page) -> str:
        press("x")(page)
        page.locator("#ask-yes").click()
        page.get_by_text("Rejected. Nothing of the object leaves.").wait_for()
        return page.url

    assert str(waiting) in await seat.do(work)
    assert {one.object_id: one.state for one in await held(house)} == {
        waiting: State.HELD,
        rejected: State.REJECTED,
    }


async def test_nothing_is_sent_where_there_is_nothing_to_mask(
    seat: Seat, desk: Desk, house: House
) -> None:
    await seat.look_at(await desk.hold(marks=[]))

    def work(page: Page) -> str:
        press("m")(page)
        return page.locator("#said").inner_text()

    assert await seat.do(work) == "There is no mask. Draw one, or release the image."
    assert (await held(house))[0].state is State.HELD


async def test_who_comes_second_reads_who_was_faster(seat: Seat, desk: Desk, house: House) -> None:
    object_id = await desk.hold()
    await seat.look_at(object_id)
    event = AuditEvent(action="", organization="DEMO", actor="bert")
    await house.gateway.review.decide(event, object_id, Act.REJECT)

    def work(page: Page) -> str:
        press("m")(page)
        page.get_by_role("heading", name="This object no longer waits").wait_for()
        return page.locator(".message").inner_text()

    assert await seat.do(work) == "It was rejected by bert."


async def test_an_image_that_does_not_come_is_asked_for_again(
    seat: Seat, desk: Desk, house: House
) -> None:
    await seat.look_at(await desk.hold(frames=2))
    path = house.gateway.settings.quarantine_path
    (file,) = [entry for entry in path.iterdir() if len(entry.name) == 36]
    away = file.rename(path.parent / "away")

    def fail(page: Page) -> None:
        press(".")(page)
        page.get_by_text("The image could not be shown.").wait_for()

    def again(page: Page) -> None:
        page.get_by_role("button", name="Try again").click()
        page.get_by_text("The image could not be shown.").wait_for(state="hidden")

    await seat.do(fail)
    complaints, seat.complaints = seat.complaints, []
    away.rename(file)
    await seat.do(again)

    assert len(complaints) == 1
    assert "422" in complaints[0]


async def test_the_image_leaves_the_screen_when_nobody_works(
    sit: Sit, desk: Desk, house: House
) -> None:
    object_id = await desk.hold()
    seat = await sit()
    await seat.do(lambda page: page.clock.install())
    await seat.sign_in(await desk.key())
    await seat.look_at(object_id)
    sessions = house.gateway.sessions
    clock, sessions._clock = sessions._clock, lambda: clock() + IDLE_S + 1

    def work(page: Page) -> str:
        page.clock.fast_forward(IDLE_S * 1000)
        page.get_by_text("Your session is over.").wait_for()
        return page.url

    assert (await seat.do(work)).endswith("/review/sign-in?why=over")


async def test_who_works_stays_signed_in(sit: Sit, desk: Desk) -> None:
    object_id = await desk.hold()
    seat = await sit()
    await seat.do(lambda page: page.clock.install())
    await seat.sign_in(await desk.key())
    await seat.look_at(object_id)

    def work(page: Page) -> list[int]:
        page.keyboard.press("n")
        with page.expect_response("**/review/session") as waited:
            page.clock.run_for(IDLE_S * 100)
        page.clock.run_for(IDLE_S * 950)
        return [waited.value.status, len(boxes(page))]

    assert await seat.do(work) == [204, 3]


async def test_after_signing_out_the_way_back_shows_nothing(seat: Seat, desk: Desk) -> None:
    await seat.look_at(await desk.hold())

    def work(page: Page) -> str:
        page.get_by_role("button", name="Sign out").click()
        page.get_by_text("You are signed out.").wait_for()
        page.go_back()
        page.get_by_label("API key").wait_for()
        return page.url

    assert "/review/sign-in" in await seat.do(work)


async def test_without_scripts_the_proposed_masks_are_applied(
    sit: Sit, desk: Desk, house: House
) -> None:
    object_id = await desk.hold()
    seat = await sit(java_script_enabled=False)
    await seat.sign_in(await desk.key())

    def work(page: Page) -> None:
        page.goto(f"{seat.address}/review/objects/DEMO/{object_id}")
        page.get_by_role("button", name="Mask", exact=True).click()
        page.get_by_text("Nothing waits.").wait_for()

    await seat.do(work)

    assert [mark.box for mark in (await held(house))[0].marks] == [mark.box for mark in MARKS]


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1024, 640), (800, 600)])
async def test_everything_fits_on_a_small_screen(
    sit: Sit, desk: Desk, width: int, height: int
) -> None:
    object_id = await desk.hold(frames=3)
    seat = await sit(viewport={"width": width, "height": height})
    await seat.sign_in(await desk.key())
    await seat.look_at(object_id)

    def work(page: Page) -> tuple[int, bool]:
        decide = page.get_by_role("button", name="Reject")
        if width < 960:
            decide.scroll_into_view_if_needed()
        area = decide.bounding_box()
        is_seen = area["y"] + area["height"] <= height and area["x"] + area["width"] <= width
        return page.evaluate("document.documentElement.scrollWidth"), is_seen

    assert await seat.do(work) == (width, True)


# WCAG 2.2, 1.4.3: contrast of text with what is behind it.
CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.disabled || element.closest("[hidden], dialog, noscript, svg")) continue;
    const pair = [parts(getComputedStyle(element).color), behind(element)].map(light).sort();
    const [dark, bright] = pair[0] < pair[1] ? pair : pair.reverse();
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < 4.5) low.push(`${element.tagName} ${contrast.toFixed(2)}`);
  }
  return low;
}"""
NAMELESS = """() => [...document.querySelectorAll("button, a, input:not([type=hidden]), img")]
  .filter((one) => !(one.innerText || "").trim() && !one.ariaLabel && !one.alt)
  .filter((one) => !one.labels?.length && !one.closest("dialog"))
  .map((one) => one.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read_and_everything_has_a_name(
    sit: Sit, desk: Desk, scheme: str
) -> None:
    object_id = await desk.hold(frames=3)
    seat = await sit(color_scheme=scheme)

    def check(path: str) -> Callable[[Page], tuple[list[str], list[str]]]:
        def work(page: Page) -> tuple[list[str], list[str]]:
            page.goto(f"{seat.address}{path}")
            return page.evaluate(CONTRASTS), page.evaluate(NAMELESS)

        return work

    found = [await seat.do(check("/review/sign-in?why=over"))]
    await seat.sign_in(await desk.key())
    paths = ("/review?done=mask", f"/review/objects/DEMO/{object_id}", "/review/rules")
    found += [await seat.do(check(path)) for path in paths]

    assert found == [([], [])] * 4
