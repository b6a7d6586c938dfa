"""Scripts of the CTP DicomPixelAnonymizer as mask rules. Pure.

A script is sections of a signature in braces and regions in parentheses; all else is comment.
Terms are ``identifier.method("text")``, joined by ``+`` (or), ``*`` (and, which binds more) and
``!``. What has no counterpart here is reported with its line, and its section is left out whole.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from app.errors import InvalidRules
from app.pixels.conditions import All, AnyOf, Condition, Not, Test, is_pattern_safe
from app.pixels.rectangles import MAX_PIXELS, Length, Rectangle, Span
from app.pixels.rules import Rule
from app.pixels.signatures import LISTS, MAX_VALUE, NAMES, NUMBERS


class Problem(NamedTuple):
    """Why a section was left out."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The rules of a script, and what it holds that is in none of them."""

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...]


class _Unknown(Exception):
    """Something in a section that has no counterpart."""

    def __init__(self, line: int, message: str) -> None:
        self.problem = Problem(line, message)
        super().__init__(message)


_MAX_CHARACTERS: Final = 2_000_000
_MAX_DEPTH: Final = 32
_SECTION: Final = re.compile(r"\{([^}]*)\}")
_REGION: Final = re.compile(r"\(([^)]*)\)")
_IN_COMMENT: Final = re.compile(r"\([^()]*\)")
_MAX_LEFTOVERS: Final = 100
_NUMBERS: Final = re.compile(r"\s*(\d{1,7})\s*,\s*(\d{1,7})\s*,\s*(\d{1,7})\s*,\s*(\d{1,7})\s*")
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<sign>[()+*!])
    |(?P<constant>true|false)\.(?![A-Za-z])
    |(?P<name>\[[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\]|[A-Za-z][A-Za-z0-9]*)
        \.(?P<method>[A-Za-z]+)\s*\(\s*"(?P<text>[^"\n]*)"\s*\)""",
    re.VERBOSE,
)
_METHODS: Final = {
    "equals": ("equals", True),
    "equalsIgnoreCase": ("equals", False),
    "matches": ("matches", True),
    "contains": ("contains", True),
    "containsIgnoreCase": ("contains", False),
    "startsWith": ("starts_with", True),
    "startsWithIgnoreCase": ("starts_with", False),
    "endsWith": ("ends_with", True),
    "endsWithIgnoreCase": ("ends_with", False),
}
# What Java's patterns have and Python's have not, or mean otherwise.
_JAVA_ONLY: Final = re.compile(r"\\[pPQEhHRXGkZ]|&&|[*+?}]\+")
_BY_TAG: Final = {tag: name for name, tag in NAMES.items()}
_KEYWORDS: Final = {
    "AcquisitionDeviceProcessingDescription": 0x00181400,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "BodyPartExamined": 0x00180015,
    "BurnedInAnnotation": 0x00280301,
    "Columns": 0x00280011,
    "CommentsOnRadiationDose": 0x00400310,
    "ConversionType": 0x00080064,
    "DerivationDescription": 0x00082111,
    "DeviceSerialNumber": 0x00181000,
    "HardcopyDeviceManufacturer": 0x00181017,
    "ImageType": 0x00080008,
    "InstitutionName": 0x00080080,
    "Manufacturer": 0x00080070,
    "ManufacturerModelName": 0x00081090,
    "Modality": 0x00080060,
    "NumberOfFrames": 0x00280008,
    "OverlayDescription": 0x60000022,
    "PhotometricInterpretation": 0x00280004,
    "PresentationIntentType": 0x00080068,
    "ProtocolName": 0x00181030,
    "RecognizableVisualFeatures": 0x00280302,
    "Rows": 0x00280010,
    "SOPClassUID": 0x00080016,
    "SamplesPerPixel": 0x00280002,
    "SecondaryCaptureDeviceID": 0x00181010,
    "SecondaryCaptureDeviceManufacturer": 0x00181016,
    "SecondaryCaptureDeviceManufacturerModelName": 0x00181018,
    "SecondaryCaptureDeviceManufacturersModelName": 0x00181018,
    "SecondaryCaptureDeviceSoftwareVersion": 0x00181019,
    "SecondaryCaptureDeviceSoftwareVersions": 0x00181019,
    "SeriesDescription": 0x0008103E,
    "SeriesNumber": 0x00200011,
    "SoftwareVersion": 0x00181020,
    "SoftwareVersions": 0x00181020,
    "StationName": 0x00081010,
    "StudyDescription": 0x00081030,
    "ViewPosition": 0x00185101,
    "WindowCenter": 0x00281050,
    "WindowWidth": 0x00281051,
}


def read_script(text: str, *, prefix: str = "ctp") -> Imported:
    """Return the rules of a script; the id of each is the prefix and the line of its signature.

    Raises:
        InvalidRules: the text is longer than any script.
    """
    if len(text) > _MAX_CHARACTERS:
        raise InvalidRules("The text is longer than any script")
    rules, problems = [], []
    sections = list(_closed(_SECTION, text, 0, len(text)))
    before = 0
    for number, section in enumerate(sections):
        stop = sections[number + 1].start() if number + 1 < len(sections) else len(text)
        line = _line(text, section.start())
        try:
            rules.append(
                Rule(
                    id=f"{prefix}-{line}",
                    match=_match(text, section),
                    mask=tuple(_regions(text, section.end(), stop, line)),
                    source=f"{prefix}, line {line}",
                    comment=_comment(text[before : section.start()]),
                )
            )
        except _Unknown as error:
            problems.append(error.problem)
        before = section.end()
    problems += _leftovers(text)
    return Imported(tuple(rules), tuple(sorted(problems)))


def _closed(pattern: re.Pattern[str], text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
    """Yield what is closed by a sign, without looking for one behind the last of them."""
    closing = pattern.pattern[-1]
    return pattern.finditer(text, start, text.rfind(closing, start, stop) + 1)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _comment(text: str) -> str:
    """Return the last line of comment in front of a signature."""
    lines = [line.strip(" *\t\r-") for line in _IN_COMMENT.sub("\n", text).splitlines()]
    return next((line[:200] for line in reversed(lines) if line), "")


def _leftovers(text: str) -> Iterator[Problem]:
    """Yield braces that belong to nothing: CTP passes over them in silence."""
    end = text.rfind("}") + 1
    bare = _SECTION.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text[:end]) + text[end:]
    for match in islice(re.finditer(r"[{}]", bare), _MAX_LEFTOVERS):
        yield Problem(_line(text, match.start()), "a brace without its counterpart")


def _regions(text: str, start: int, stop: int, line: int) -> Iterator[Rectangle]:
    found = list(_closed(_REGION, text, start, stop))
    if not found:
        raise _Unknown(line, "a signature without regions masks nothing")
    for match in found:
        yield _rectangle(match[1], _line(text, match.start()))


def _rectangle(text: str, line: int) -> Rectangle:
    numbers = _NUMBERS.fullmatch(text)
    if numbers is None:
        raise _Unknown(line, "in parentheses stands no region of four numbers")
    left, top, width, height = map(int, numbers.groups())
    if not width or not height or max(left, top, width, height) > MAX_PIXELS:
        raise _Unknown(line, "a region without area")
    across = Span(near=Length(left), extent=Length(width))
    return Rectangle(across, Span(near=Length(top), extent=Length(height)))


def _match(text: str, section: re.Match[str]) -> Condition:
    parser = _Parser(text, section.start(1), section.end(1))
    condition = parser.whole()
    if isinstance(condition, bool):
        line = _line(text, section.start())
        raise _Unknown(line, "a signature that holds for all images, or for none")
    return condition


Parsed = Condition | bool


class _Parser:
    """Reads one signature; constants are folded away."""

    def __init__(self, text: str, start: int, stop: int) -> None:
        self._text, self._place, self._stop = text, start, stop
        self._token: re.Match[str] | None = None
        self._depth = 0
        self._advance()

    def whole(self) -> Parsed:
        parsed = self._either()
        if self._token is not None:
            raise self._unknown("an operator is missing")
        return parsed

    def _unknown(self, message: str) -> _Unknown:
        place = self._token.start() if self._token else self._place
        return _Unknown(_line(self._text, place), message)

    def _advance(self) -> None:
        """Step to the next token that is no space or comment."""
        self._token = None
        while self._place < self._stop:
            token = _TOKEN.match(self._text, self._place, self._stop)
            if token is None:
                raise self._unknown("this is no term that could be read")
            self._place = token.end()
            if not token["space"]:
                self._token = token
                return

    def _takes(self, sign: str) -> bool:
        if self._token is None or self._token["sign"] != sign:
            return False
        self._advance()
        return True

    def _either(self) -> Parsed:
        parts = [self._both()]
        while self._takes("+"):
            parts.append(self._both())
        if True in parts:
            return True
        conditions = [part for part in parts if not isinstance(part, bool)]
        return _joined(AnyOf, conditions) if conditions else False

    def _both(self) -> Parsed:
        parts = [self._single()]
        while self._takes("*"):
            parts.append(self._single())
        if False in parts:
            return False
        conditions = [part for part in parts if not isinstance(part, bool)]
        return _joined(All, conditions) if conditions else True

    def _single(self) -> Parsed:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._unknown("this is nested too deeply")
        try:
            if self._takes("!"):
                part = self._single()
                return not part if isinstance(part, bool) else Not(part)
            if self._takes("("):
                part = self._either()
                if not self._takes(")"):
                    raise self._unknown("a closing parenthesis is missing")
                return part
            return self._term()
        finally:
            self._depth -= 1

    def _term(self) -> Parsed:
        token = self._token
        if token is None or token["sign"]:
            raise self._unknown("a term is missing")
        if token["constant"]:
            term: Parsed = token["constant"] == "true"
        else:
            term = self._test(token["name"], token["method"], token["text"])
        self._advance()
        return term

    def _test(self, identifier: str, method: str, text: str) -> Condition:
        if identifier.startswith("["):
            tag = int(identifier[1:5] + identifier[6:10], 16)
        else:
            tag = _KEYWORDS.get(identifier, 0)
        name = _BY_TAG.get(tag)
        if name is None:
            raise self._unknown(f"{identifier}: no rule can look at this attribute")
        if len(text) > MAX_VALUE:
            raise self._unknown("the text is too long")
        if method in {"isLessThan", "isGreaterThan"}:
            return self._compared(name, method, text)
        if method not in _METHODS:
            raise self._unknown(f"{method}: no such method")
        kind, exact = _METHODS[method]
        if kind == "matches":
            self._check_pattern(text)
        exact = exact and name not in NUMBERS
        return Test(name, kind, (text,), exact, joined=name in LISTS)

    def _compared(self, name: str, method: str, text: str) -> Condition:
        number = re.sub(r"[^0-9.]", "", text)
        if not re.fullmatch(r"\d{1,8}(\.\d{1,8})?", number):
            raise self._unknown("this is no number")
        at_least, at_most = Test(name, "min", (number,)), Test(name, "max", (number,))
        bound = at_most if method == "isLessThan" else at_least
        return All((bound, Not(All((at_least, at_most)))))

    def _check_pattern(self, text: str) -> None:
        if _JAVA_ONLY.search(text) or not is_pattern_safe(text):
            raise self._unknown("this pattern is of a kind that is not taken")
        try:
            re.compile(text, re.ASCII)
        except re.error:
            raise self._unknown("this is no pattern") from None


def _joined(kind: type[All] | type[AnyOf], parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))
