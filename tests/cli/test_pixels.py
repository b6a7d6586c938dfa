"""Clean Pixel Data on the command line: files masked or held back, and one image explained."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app.errors import StorageUnavailable
from tests.cli.conftest import Invoke, files_below
from tests.pipeline.echo import BANNER, COLUMNS, ROWS, RULES, WHO, echo, encoded

UNKNOWN = {"Manufacturer": "NARWHAL", "ManufacturerModelName": "Sonar 1"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a profile, two images, and one rule; without a reader of text."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "site.yaml").write_text(RULES)
    monkeypatch.setenv("DEID_PIXEL_RULES_DIR", str(tmp_path / "rules"))
    monkeypatch.setenv("DEID_OCR_PROCESSES", "0")
    (tmp_path / "pixels.yaml").write_text("{name: cleaning, options: [basic, clean_pixel_data]}")
    (tmp_path / "known.dcm").write_bytes(encoded(echo(frames=2)))
    (tmp_path / "unknown.dcm").write_bytes(encoded(echo(**UNKNOWN)))
    return tmp_path


@pytest.mark.parametrize("jobs", [1, 2])
def test_known_devices_are_masked_and_others_are_held_for_review(
    invoke: Invoke, site: Path, jobs: int
) -> None:
    done = invoke(
        *("anonymize", site / "known.dcm", site / "unknown.dcm", "-o", site / "out"),
        *("--profile", site / "pixels.yaml", "--report", site / "report.json", "--jobs", jobs),
    )

    (written,) = files_below(site / "out")
    made = dcmread(site / "out" / written)
    held = json.loads((site / "report.json").read_text())["files"][1]
    assert done.exit_code == 1
    assert not made.pixel_array[:, : BANNER.bottom].any()
    assert made.pixel_array[:, BANNER.bottom :].any()
    assert held["code"] == "quarantined"
    assert held["quarantine_id"] in done.output
    assert [text for text in WHO.texts if text in done.output] == []
    assert len(files_below(site / "data" / "quarantine")) == 1


def test_one_image_is_explained_and_drawn(invoke: Invoke, site: Path) -> None:
    told = invoke("pixels", "explain", site / "known.dcm", "--json", "--png", site / "drawn.png")

    answer = json.loads(told.output)
    assert told.exit_code == 0, told.output
    assert answer["verdict"] == "mask"
    assert answer["marks"][0]["rule"] == "acme-echo"
    with Image.open(site / "drawn.png") as drawn:
        assert drawn.size == (COLUMNS, ROWS)


def test_the_mark_is_black_where_it_is_filled_in_the_chosen_frame(
    invoke: Invoke, site: Path
) -> None:
    invoke(
        *("pixels", "explain", site / "known.dcm", "--png", site / "filled.png"),
        *("--fill", "--frame", 2),
    )

    with Image.open(site / "filled.png") as drawn:
        assert not any(drawn.convert("L").crop((0, 0, COLUMNS, BANNER.bottom)).tobytes())


def test_an_image_that_would_be_held_back_says_why_and_what_would_help(
    invoke: Invoke, site: Path
) -> None:
    told = invoke("pixels", "explain", site / "unknown.dcm")

    assert told.exit_code == 1
    assert "verdict  quarantine" in told.output
    assert "reason   ocr not-read" in told.output
    assert "a complete mask rule" in told.output
    assert not (site / "data").exists()


def test_a_drawing_that_cannot_be_written_is_told(invoke: Invoke, site: Path) -> None:
    told = invoke("pixels", "explain", site / "known.dcm", "--png", site / "nowhere" / "x.png")

    assert isinstance(told.exception, StorageUnavailable)


def test_a_frame_that_is_not_there_is_named_as_the_fault(invoke: Invoke, site: Path) -> None:
    told = invoke(*("pixels", "explain", site / "known.dcm", "--png", site / "x.png", "--frame", 3))

    assert told.exit_code != 0
    assert not (site / "x.png").exists()


@pytest.mark.parametrize("asked", [("--frame", 1), ("--fill",)])
def test_how_a_picture_is_drawn_is_not_said_without_a_picture(
    invoke: Invoke, site: Path, asked: tuple[object, ...]
) -> None:
    told = invoke("pixels", "explain", site / "known.dcm", *asked)

    assert told.exit_code == 2
    assert "--png" in told.stderr


def test_an_explanation_shows_what_was_decided_about_the_pixels(invoke: Invoke, site: Path) -> None:
    told = invoke("explain", site / "known.dcm", "--profile", site / "pixels.yaml")

    assert told.exit_code == 0, told.output
    assert f"mark     (0, 0) to ({COLUMNS}, {BANNER.bottom})  mask-rule acme-echo" in told.output
    assert [text for text in WHO.texts if text in told.output] == []
