"""Reading frames in a child process: real models, text burned in here."""

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.errors import PixelWorkFailed
from app.pixels.children import OCR_MEMORY, Children
from app.pixels.matching_model import Known
from app.pixels.model import Box, Mark, Palette, Picture, Rung
from app.pixels.wire import picture_to_json

pytest.importorskip("rapidocr")
NATIVE = "1.2.840.10008.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NAME = "ZZYZXOVA, VERONIKA"
KNOWN = (Known("patient-name", "ZZYZXOVA^VERONIKA"), Known("id", "77401-X"))
Pixels = NDArray[Any]
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def pool() -> Iterator[Children]:
    with Children(size=1, memory_bytes=OCR_MEMORY) as made:
        yield made


def burned(
    *texts: tuple[str, tuple[int, int]],
    size: int = 16,
    ground: Pixels | int = 0,
    ink: int = 255,
    shape: tuple[int, int] = (200, 320),
) -> Pixels:
    image = Image.fromarray(np.broadcast_to(np.asarray(ground, np.uint8), shape).copy())
    for text, place in texts:
        ImageDraw.Draw(image).text(place, text, fill=ink, font=ImageFont.load_default(size))
    return np.asarray(image)


def speckle(shape: tuple[int, int] = (200, 320)) -> Pixels:
    noise = np.random.default_rng(7).rayleigh(30, shape)
    return np.clip(noise, 0, 150).astype(np.uint8)


async def read(
    pool: Children, frames: Sequence[Pixels], *, marks: Sequence[Mark] = (), **more: Any
) -> Answer:
    first = frames[0]
    bits = first.dtype.itemsize * 8
    colours = 3 if first.ndim == 3 else 1
    picture = Picture(
        sop_class=SECONDARY_CAPTURE,
        transfer_syntax=NATIVE,
        rows=first.shape[0],
        columns=first.shape[1],
        frames=len(frames),
        samples=colours,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        photometric=more.pop("photometric", "RGB" if colours == 3 else "MONOCHROME2"),
        window=more.pop("window", None),
        palette=more.pop("palette", None),
    )
    task = {
        "kind": "examine",
        "picture": picture_to_json(picture),
        "frames": [[[n * first.nbytes, first.nbytes]] for n in range(len(frames))],
        "marks": [asdict(mark) for mark in marks],
        "identifiers": [known.to_json() for known in KNOWN],
        "budget_s": 60,
    }
    with tempfile.TemporaryFile() as source:
        source.write(b"".join(frame.tobytes() for frame in frames))
        source.flush()
        task["frames"] = more.pop("pieces", task["frames"])
        return await pool.ask(task | more, [source.fileno()], 120)


def kinds(answer: Answer) -> list[str]:
    return sorted(mark["rule"] for mark in answer["findings"])


def covered(answer: Answer, shape: tuple[int, int], frame: int = 0) -> Pixels:
    mask = np.zeros(shape, np.bool_)
    for mark in map(Mark.from_json, answer["findings"]):
        if mark.frames is None or mark.frames[0] <= frame <= mark.frames[1]:
            box = mark.box
            mask[box.top : box.bottom, box.left : box.right] = True
    return mask


async def test_a_name_is_found_and_every_pixel_of_it_lies_in_the_box(pool: Children) -> None:
    image = burned((NAME, (20, 12)))

    answer = await read(pool, [image])

    assert kinds(answer) == ["patient-name"]
    assert covered(answer, image.shape)[image > 0].all()
    assert (answer["is_complete"], answer["frames_read"]) == (True, 1)


async def test_nothing_that_was_read_leaves_the_child(pool: Children) -> None:
    answer = await read(pool, [burned((NAME, (20, 12)), ("Teo Quispe", (20, 90)))])

    assert not [part for part in ("ZZY", "VERONIKA", "Teo", "Quispe") if part in json.dumps(answer)]
    assert {mark["rung"] for mark in answer["findings"]} == {"ocr"}


async def test_what_devices_write_stays(pool: Children) -> None:
    texts = [("R", (8, 8)), ("50 mm", (100, 8)), ("MI 1.2", (8, 60)), ("HEAD FIRST", (100, 60))]

    answer = await read(pool, [burned(*texts)])

    assert kinds(answer) == []
    assert answer["lines"] >= 3


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("DOB 29.08.1951", "date"),
        ("77401-X", "id"),
        ("Dr. Quispehuanca", "person"),
        ("Hospital Nordmarkvik", "institution"),
        ("Tel. 08721 55123", "phone"),
        ("Zvonimirka", "free-text"),
    ],
)
async def test_kinds_of_text_are_told(pool: Children, text: str, kind: str) -> None:
    assert kinds(await read(pool, [burned((text, (20, 40)))])) == [kind]


@pytest.mark.parametrize("size", [9, 13, 32])
async def test_letters_of_all_sizes_are_found_over_speckle(pool: Children, size: int) -> None:
    image = burned((NAME, (6, 60)), size=size, ground=speckle((200, 420)), shape=(200, 420))

    assert "patient-name" in kinds(await read(pool, [image]))


async def test_mirrored_letters_are_found(pool: Children) -> None:
    mirrored = burned(("Tom Hale", (100, 60)), size=20)[:, ::-1].copy()

    assert kinds(await read(pool, [mirrored])) != []


async def test_dark_letters_on_white_are_found(pool: Children) -> None:
    assert "patient-name" in kinds(await read(pool, [burned((NAME, (20, 12)), ground=250, ink=0)]))


async def test_letters_of_one_colour_as_bright_as_the_ground_are_found(pool: Children) -> None:
    ink = burned((NAME, (20, 12))) > 127
    image = np.where(ink[:, :, None], (200, 60, 60), (60, 131, 60)).astype(np.uint8)

    assert "patient-name" in kinds(await read(pool, [image]))


async def test_letters_that_the_window_hides_are_found(pool: Children) -> None:
    ink = burned((NAME, (20, 12))) > 127
    image = np.where(ink, 30_000, 25_000).astype("<u2")

    answer = await read(pool, [image], window=(1000.0, 400.0))

    assert "patient-name" in kinds(answer)


async def test_letters_that_noise_elsewhere_outshines_are_found(pool: Children) -> None:
    noise = np.random.default_rng(7).integers(0, 65_535, (200, 320)).astype("<u2")
    image = np.where(np.arange(200)[:, None] < 60, burned((NAME, (20, 12))) // 128 * 2, noise)

    answer = await read(pool, [image.astype("<u2")], window=(30_000.0, 60_000.0))

    assert "patient-name" in kinds(answer)


async def test_letters_one_step_above_the_ground_beside_tissue_are_found(pool: Children) -> None:
    rows, columns = np.mgrid[:200, :320]
    tissue = 4000 * np.exp(-((rows - 130) ** 2 + (columns - 160) ** 2) / 800) - 60
    image = np.clip(tissue, 0, 4095).astype("<u2")
    image[(burned((NAME, (20, 12))) > 127) & (image == 0)] = 1

    answer = await read(pool, [image], window=(2000.0, 4000.0))

    assert "patient-name" in kinds(answer)


async def test_letters_of_a_colour_that_the_palette_has_twice_are_found(pool: Children) -> None:
    table = np.arange(256, dtype="<u2") * 256
    table[6] = table[5]
    palette = Palette(256, 0, 16, *[table.tobytes()] * 3)
    image = np.random.default_rng(7).integers(7, 250, (200, 320)).astype(np.uint8)
    image[:60] = np.where(burned((NAME, (20, 12)))[:60] > 127, 6, 5)

    answer = await read(pool, [image], palette=palette, photometric="PALETTE COLOR")

    assert "patient-name" in kinds(answer)


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_turned_letters_are_found(pool: Children, turns: int) -> None:
    image = np.ascontiguousarray(np.rot90(burned((NAME, (20, 12)), size=18), turns))

    answer = await read(pool, [image])

    assert kinds(answer)
    assert covered(answer, image.shape)[image > 127].mean() > 0.95


@pytest.mark.parametrize("name", ["black", "speckle", "gradient", "ruler"])
async def test_images_without_text_have_no_findings(pool: Children, name: str) -> None:
    ruler = np.zeros((200, 320), np.uint8)
    ruler[20:180:8, 300:306] = 200
    ruler[20:180:40, 294:306] = 200
    slope = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8), (200, 320))
    images = {"black": burned(), "speckle": speckle(), "gradient": slope, "ruler": ruler}

    assert kinds(await read(pool, [np.ascontiguousarray(images[name])])) == []


async def test_what_is_masked_already_is_not_found_again(pool: Children) -> None:
    image = burned((NAME, (20, 12)), ("29.08.1951", (20, 120)))
    marks = [Mark(Box(0, 0, 320, 50), Rung.MASK_RULE, "a-rule")]

    answer = await read(pool, [image], marks=marks)

    assert kinds(answer) == ["date"]


async def test_text_in_one_frame_is_found_there_and_equal_frames_are_read_once(
    pool: Children,
) -> None:
    plain, named = burned(ground=speckle()), burned((NAME, (20, 12)), ground=speckle())

    once = await read(pool, [named])
    answer = await read(pool, [plain, plain, named, named, plain])

    assert [mark["frames"] for mark in answer["findings"]] == [[2, 3]]
    assert answer["frames_read"] == 5
    assert answer["lines"] <= once["lines"] + 1


async def test_text_that_changes_is_found_in_all_frames(pool: Children) -> None:
    frames = [
        burned((NAME, (20, 12)), ("Zvonimirka", (20, 150 - 40 * n)), ground=speckle())
        for n in range(3)
    ]

    answer = await read(pool, frames)

    for number, frame in enumerate(frames):
        changed = frame != speckle()
        assert covered(answer, frame.shape, number)[changed].mean() > 0.98
    assert {"rule": "patient-name", "frames": None} in [
        {"rule": mark["rule"], "frames": mark["frames"]} for mark in answer["findings"]
    ]


async def test_a_reading_that_takes_too_long_is_not_complete(pool: Children) -> None:
    answer = await read(pool, [burned((NAME, (20, 12)))], budget_s=0)

    assert (answer["is_complete"], answer["frames_read"]) == (False, 0)


async def test_pixels_that_cannot_be_decoded_are_refused(pool: Children) -> None:
    answer = await read(pool, [burned()], pieces=[[[0, 10]]])

    assert "error" in answer


async def overlay(
    pool: Children, image: Pixels, *, frames: int = 1, budget_s: float = 60, **more: Any
) -> Answer:
    bits = np.concatenate([(image > 127).ravel()] * frames)
    data = np.packbits(bits, bitorder="little").tobytes()
    rows, columns = image.shape
    about = {"group": 0x6000, "rows": rows, "columns": columns, "frames": frames}
    with tempfile.TemporaryFile() as source:
        source.write(b"before" + data)
        source.flush()
        task = {
            "kind": "overlays",
            "overlays": [about | {"offset": 6, "size": len(data)} | more],
            "identifiers": [known.to_json() for known in KNOWN],
            "budget_s": budget_s,
        }
        return await pool.ask(task, [source.fileno()], 120)


async def test_an_overlay_with_a_name_is_not_clean(pool: Children) -> None:
    answer = await overlay(pool, burned((NAME, (13, 20)), shape=(99, 301)), frames=3)

    assert answer == {"clean": [], "found": {"24576": ["patient-name"]}}


async def test_an_overlay_with_marks_of_a_device_is_clean(pool: Children) -> None:
    image = burned(("R", (10, 10)), ("12.5 cm", (100, 30)))
    assert await overlay(pool, image) == {"clean": [0x6000], "found": {}}


async def test_an_overlay_that_is_not_what_it_says_is_not_clean(pool: Children) -> None:
    assert (await overlay(pool, burned(), rows=4000))["clean"] == []
    assert (await overlay(pool, burned(), budget_s=-1))["clean"] == []


@pytest.fixture
async def elsewhere(request: pytest.FixtureRequest) -> AsyncIterator[Children]:
    program = str(Path(__file__).with_name(request.param))
    with Children(size=1, memory_bytes=OCR_MEMORY, command=(sys.executable, "-P", program)) as made:
        yield made


@pytest.mark.parametrize("elsewhere", ["offline_child.py"], indirect=True)
async def test_the_models_come_with_the_package_and_nothing_is_fetched(elsewhere: Children) -> None:
    assert await elsewhere.ask({"kind": "ocr-probe"}, timeout_s=120) == {"is_working": True}
    assert kinds(await read(elsewhere, [burned((NAME, (20, 12)))])) == ["patient-name"]


@pytest.mark.parametrize("elsewhere", ["bare_child.py"], indirect=True)
async def test_without_the_packages_reading_fails_and_says_so(elsewhere: Children) -> None:
    with pytest.raises(PixelWorkFailed, match="not-installed") as raised:
        await read(elsewhere, [burned((NAME, (20, 12)))])
    assert raised.value.where == "rapidocr"
