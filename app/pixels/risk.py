"""How likely an image carries identifying text, out of its header alone. Pure; the tables decide.

Every argument is looked at, the worst counts, and what no table foresees is unknown. A declaration
that nothing is burned in spares no image from being read; the ladder may believe it afterwards.
"""

from typing import Final

from app.pixels.model import Picture, Reason, Risk, Rung
from app.pixels.risk_tables import (
    CONVERSIONS,
    DEVICES,
    IMAGE_TYPE_HARMLESS,
    IMAGE_TYPE_PARTS,
    IMAGE_TYPE_WORDS,
    LOCALIZERS,
    MODALITIES,
    NO_IMAGE_CLASSES,
    SCREENS,
    SLIDE_LABELS,
    SLIDE_SMALL,
    SLIDE_VOLUMES,
    SOP_CLASSES,
    VIDEO_SYNTAXES,
    Class,
    Group,
)

Assessment = tuple[Risk, tuple[Reason, ...]]
Argument = tuple[Risk, Reason]

_ORDER: Final = {Risk.NONE: 0, Risk.SOME: 1, Risk.HIGH: 2, Risk.UNKNOWN: 3}
_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_PIXEL_KINDS: Final = frozenset({"ORIGINAL", "DERIVED", "MIXED"})
_EXAMINATIONS: Final = frozenset({"PRIMARY", "SECONDARY"})
# Of another number one would not be looked at: readers know three colours at most.
_SAMPLES: Final = frozenset({1, 3})
_SPECTROSCOPY: Final = "1.2.840.10008.5.1.4.1.1.4.2"
#: Code of the reason that a slide shows its label.
SLIDE_LABEL: Final = "slide-label"
#: Code of the reason that frames are no pictures of their own.
VIDEO: Final = "video"


def _reason(code: str, rule: str = "") -> Reason:
    return Reason(Rung.RISK, code, rule)


_CALM: Final = {group: (_reason("sop-class", group.value),) for group in Group}


def assess(picture: Picture) -> Assessment:
    """Return the risk and every argument that made it, the decisive ones first."""
    known = SOP_CLASSES.get(picture.sop_class)
    if known is None:
        return _without_class(picture)
    if is_video(picture):
        return Risk.UNKNOWN, (_reason(VIDEO),)
    if picture.rows <= 0 or picture.columns <= 0 or picture.frames < 1:
        return Risk.UNKNOWN, (_reason("contradictory-values", "size"),)
    if picture.samples not in _SAMPLES:
        return Risk.UNKNOWN, (_reason("contradictory-values", "samples"),)
    if known.group is Group.SLIDES:
        arguments = [*_slide(picture), *_declared(picture)]
    elif known.group is Group.COMPUTED:
        arguments = _computed(picture, known)
    else:
        arguments = _image(picture, known)
    return _worst(known, arguments)


def is_video(picture: Picture) -> bool:
    """Say whether the pixel data is a film in which nothing can be read or masked."""
    known = SOP_CLASSES.get(picture.sop_class)
    is_film = known is not None and known.group is Group.VIDEO
    return is_film or picture.transfer_syntax in VIDEO_SYNTAXES


def is_ultrasound(picture: Picture) -> bool:
    """Say whether ultrasound regions have a meaning for the image."""
    known = SOP_CLASSES.get(picture.sop_class)
    if known is not None and known.group is Group.ULTRASOUND:
        return True
    return picture.modality in {"US", "IVUS"}


def trusts_no(picture: Picture) -> bool:
    """Say whether a declaration that nothing is burned in counts for anything.

    Films and papers were digitised long after anybody could declare what is on them.
    """
    if picture.burned_in != "NO":
        return False
    return picture.conversion not in {"DF", "SD", "SI"} and not _device(picture)


def _without_class(picture: Picture) -> Assessment:
    if not picture.sop_class.startswith(NO_IMAGE_CLASSES):
        return Risk.UNKNOWN, (_reason("unknown-sop-class"),)
    if (picture.rows or picture.columns) and not _is_spectrum(picture):
        return Risk.UNKNOWN, (_reason("contradictory-values", "pixels-in-no-image"),)
    return Risk.NONE, _CALM[Group.NO_IMAGE]


def _is_spectrum(picture: Picture) -> bool:
    """Say whether rows and columns are those of a spectroscopy (PS3.3 2026d, C.8.14.1)."""
    return picture.sop_class == _SPECTROSCOPY and not picture.photometric


def _worst(known: Class, arguments: list[Argument]) -> Assessment:
    calm = _CALM[known.group]
    if not arguments:
        return known.risk, calm
    ranked = sorted(arguments, key=lambda one: -_ORDER[one[0]])
    reasons = tuple(dict.fromkeys(reason for _, reason in ranked))
    risk = ranked[0][0]
    if _ORDER[known.risk] >= _ORDER[risk]:
        return known.risk, (*calm, *reasons)
    return risk, reasons


def _image(picture: Picture, known: Class) -> list[Argument]:
    """Return what speaks against images of all groups but slides and computed ones."""
    arguments = _declared(picture)
    arguments += _image_type(picture)
    if picture.conversion:
        arguments.append(_conversion(picture.conversion))
    if not known.modalities or picture.modality not in known.modalities:
        arguments += _modality(picture, known)
    if device := _device(picture):
        arguments.append((Risk.HIGH, _reason("device", device)))
    if known.group is Group.SECTIONS:
        arguments += _samples(picture)
        if not LOCALIZERS.isdisjoint(picture.image_type[2:]):
            arguments.append((Risk.SOME, _reason("image-type", "localizer")))
    return arguments


def _declared(picture: Picture) -> list[Argument]:
    """Return what the image says of itself."""
    arguments: list[Argument] = []
    if picture.burned_in == "YES":
        arguments.append((Risk.HIGH, _reason("burned-in-declared")))
    elif picture.burned_in not in {"", "NO"}:
        arguments.append((Risk.UNKNOWN, _reason("contradictory-values", "burned-in")))
    if picture.recognizable == "YES":
        arguments.append((Risk.UNKNOWN, _reason("recognizable-features")))
    elif picture.recognizable not in {"", "NO"}:
        arguments.append((Risk.UNKNOWN, _reason("contradictory-values", "recognizable")))
    return arguments


def _image_type(picture: Picture) -> list[Argument]:
    kinds = picture.image_type
    if len(kinds) < 2 or kinds[0] not in _PIXEL_KINDS or kinds[1] not in _EXAMINATIONS:
        return [(Risk.SOME, _reason("image-type", "incomplete"))]
    arguments: list[Argument] = []
    if kinds[1] == "SECONDARY":
        arguments.append((Risk.SOME, _reason("image-type", "secondary")))
    words = filter(None, map(_word, kinds[2:]))
    arguments += [(Risk.HIGH, _reason("image-type", word)) for word in words]
    return arguments


def _word(kind: str) -> str:
    word = IMAGE_TYPE_WORDS.get(kind, "")
    if word or kind in IMAGE_TYPE_HARMLESS:
        return word
    for part, meaning in IMAGE_TYPE_PARTS.items():
        if part in kind:
            return meaning
    return ""


def _conversion(conversion: str) -> Argument:
    name, risk = CONVERSIONS.get(conversion, ("unknown", Risk.UNKNOWN))
    return risk, _reason("conversion", name)


def _modality(picture: Picture, known: Class) -> list[Argument]:
    """Return what a modality says that is not the SOP Class's own."""
    if risk := MODALITIES.get(picture.modality):
        return [(risk, _reason("modality", "screen-or-photograph"))]
    if known.modalities:
        return [(Risk.SOME, _reason("modality", "of-another-sop-class"))]
    return []


def _device(picture: Picture) -> str:
    manufacturer, model = picture.manufacturer.upper(), picture.model.upper()
    if not manufacturer and not model:
        return ""
    for maker, name, what in DEVICES:
        if maker in manufacturer and name in model:
            return what
    return ""


def _samples(picture: Picture) -> list[Argument]:
    """Return what speaks against sections: detectors see neither colours nor 8 bits."""
    arguments: list[Argument] = []
    if picture.samples != 1 or picture.photometric not in _GREY:
        arguments.append((Risk.SOME, _reason("pixels", "colour")))
    if picture.bits_stored <= 8:
        is_screen = (picture.columns, picture.rows) in SCREENS
        what = "screen-size" if is_screen else "eight-bit"
        arguments.append((Risk.HIGH if is_screen else Risk.SOME, _reason("pixels", what)))
    return arguments


def _computed(picture: Picture, known: Class) -> list[Argument]:
    """Return what contradicts an image of which every pixel was computed.

    Segments of one and eight bits may have a palette (PS3.3 2026d, C.8.20.2).
    """
    arguments = _declared(picture)
    if picture.burned_in == "YES":
        arguments.append((Risk.UNKNOWN, _reason("contradictory-values", "burned-in")))
    if picture.samples != 1:
        arguments.append((Risk.UNKNOWN, _reason("contradictory-values", "colour")))
    if known.modalities and picture.modality not in known.modalities:
        arguments.append((Risk.UNKNOWN, _reason("contradictory-values", "modality")))
    return arguments


def _slide(picture: Picture) -> list[Argument]:
    """Judge a whole-slide image by its flavour and by Specimen Label in Image.

    Common converters leave the latter out; a volume is the tissue under the objective.
    """
    flavour = picture.image_type[2] if len(picture.image_type) > 2 else ""
    shows = dict(picture.attributes).get("label_in_image", "").strip().upper()
    if flavour in SLIDE_LABELS:
        return [(Risk.HIGH, _reason(SLIDE_LABEL, flavour.lower()))]
    if flavour in SLIDE_VOLUMES and shows in {"NO", ""}:
        return []
    if flavour in SLIDE_SMALL and shows == "NO":
        return [(Risk.SOME, _reason("image-type", "thumbnail"))]
    if flavour in SLIDE_SMALL and shows == "YES":
        return [(Risk.HIGH, _reason(SLIDE_LABEL, "thumbnail"))]
    return [(Risk.UNKNOWN, _reason("contradictory-values", "slide"))]
