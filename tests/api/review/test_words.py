"""Plain words: everything that the ladder can say has them."""

import datetime as dt
import re
from pathlib import Path

import pytest

from app.api.review import words
from app.pixels import ladder, matching_model, risk_tables
from app.pixels.model import Box, Mark, Reason, Risk, Rung
from app.pixels.rulings import SourceKind

APP = Path(__file__).parents[3] / "app"
SAID = re.compile(r'\b_?[Rr]eason\((?:\s*Rung\.[A-Z_]+,)?\s*"([a-z-]+)"(?:,\s*"([a-z-]+)")?')
NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


def said() -> set[str]:
    """Codes, and codes with their rule, that the source texts say."""
    found = set()
    for folder in ("pixels", "pipeline"):
        for path in (APP / folder).rglob("*.py"):
            for code, rule in SAID.findall(path.read_text(encoding="utf-8")):
                found.add(code)
                if rule and code in {"image-type", "modality", "pixels", "conversion"}:
                    found.add(f"{code} {rule}")
    return found


def of_tables() -> set[str]:
    """Codes with the rules that the tables of risks name."""
    kinds = {*risk_tables.IMAGE_TYPE_WORDS.values(), *risk_tables.IMAGE_TYPE_PARTS.values()}
    found = {f"image-type {kind}" for kind in kinds}
    found |= {f"conversion {name}" for name, _ in risk_tables.CONVERSIONS.values()}
    found |= {f"device {what}" for _, _, what in risk_tables.DEVICES}
    return found | {f"sop-class {group}" for group in risk_tables.Group}


def test_every_reason_has_words() -> None:
    chosen = {"identifying-text", "not-read", "not-read-to-the-end", "regions-cover-all"}
    codes = said() | of_tables() | chosen

    assert len(codes) > 50
    assert sorted(code for code in codes if code not in words.REASONS) == []


def test_every_kind_of_text_has_words() -> None:
    kinds = {*matching_model.KINDS, matching_model.FREE_TEXT, ladder.DOUBTFUL}
    assert kinds <= set(words.KINDS)


def test_every_rung_risk_and_source_has_words() -> None:
    assert set(words.RUNGS) == set(Rung)
    assert set(words.RISKS) == set(Risk)
    assert set(words.SOURCES) == set(SourceKind)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            Reason(Rung.OCR, "identifying-text", "date", frame=4, confidence=0.876),
            "Identifying text was read outside of the masks: a date, frame 5, 88 % sure.",
        ),
        (Reason(Rung.RISK, "device", "workstation"), "It comes from a workstation."),
        (Reason(Rung.MASK_RULE, "mask-rule", "acme-1"), "A mask rule fits this device: acme-1."),
        (Reason(Rung.OCR, "something-new", "odd"), "Something new: odd."),
    ],
    ids=["ocr", "table", "rule", "unknown"],
)
def test_a_reason_is_one_sentence(reason: Reason, text: str) -> None:
    assert words.reason_text(reason) == text


@pytest.mark.parametrize(
    ("mark", "origin"),
    [
        (Mark(Box(0, 0, 1, 1), Rung.OCR, "patient-name", 0.5), "a patient's name, 50 % sure"),
        (Mark(Box(0, 0, 1, 1), Rung.MASK_RULE, "acme-1"), "rule acme-1"),
        (Mark(Box(0, 0, 1, 1), Rung.REGIONS), "outside of the ultrasound regions"),
        (Mark(Box(0, 0, 1, 1), Rung.REVIEW), "drawn"),
        (Mark(Box(0, 0, 1, 1), Rung.RISK, "slide-label"), "slide label"),
    ],
    ids=["ocr", "rule", "regions", "review", "risk"],
)
def test_a_mask_says_where_it_comes_from(mark: Mark, origin: str) -> None:
    assert words.origin_of(mark) == origin


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "less than a minute"), (60, "1 minute"), (7300, "2 hours"), (10 * 86_400, "10 days")],
)
def test_an_age_is_said_in_its_largest_unit(seconds: int, text: str) -> None:
    assert words.age_text(NOW - dt.timedelta(seconds=seconds), NOW) == text
