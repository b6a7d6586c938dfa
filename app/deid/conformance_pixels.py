"""What a conformance statement says of Clean Pixel Data. Source: PS3.15 2026d, E.3.1."""

from collections.abc import Iterator
from dataclasses import asdict

from app.deid.conformance_rows import Row
from app.deid.pixel_policy import PixelPolicy

_PIXEL_TERMS = {
    "read": {
        "risky": "images that may carry text by their headers",
        "all": "every image",
    },
    "found": {
        "quarantine": "the object is held back",
        "mask": "the text is masked and the image read again",
    },
    "lossy": {
        "refuse": "an image that cannot be masked without changing other pixels is held back",
        "allow": "other pixels may change, and the object says so",
    },
    "video": {
        "quarantine": "held back",
        "accept": "passed on without being looked at; the code 113101 is not claimed",
    },
    "labels": {"drop": "refused", "mask": "masked as a whole"},
    "documents": {
        "replace": "replaced by a notice",
        "clean": "cleaned, or replaced by a notice where that is doubtful",
    },
}
_PIXEL_NAMES = {
    "read": "What is read for text",
    "found": "Identifying text beside what rules mask",
    "lossy": "Lossy compressed images",
    "video": "Video",
    "labels": "Label and overview images of slides",
    "documents": "Encapsulated documents",
}

PIXEL_TEXTS = (
    "Images are judged by SOP Class, Image Type, Conversion Type, device and Burned In "
    "Annotation. Known devices are masked by rules, ultrasound images outside of their "
    "Sequence of Ultrasound Regions (0018,6011); every frame is then read and its text "
    "compared with the identifying values of the same object, dates, names and ids. What "
    "is doubtful, unknown or could not be read is held back until a person decides.",
    "Masked pixels are overwritten; all others stay bit-exact. Burned In Annotation "
    "(0028,0301) is NO in every object that passes with pixels. Where pixels were "
    "overwritten, value 1 of Image Type (0008,0008) is DERIVED, except where frames have "
    "types of their own, and Derivation Description (0008,2111) and Derivation Code "
    "Sequence (0008,9215), 113047, tell it. Recognizable Visual Features (0028,0302) "
    "stays as it is.",
    "The code 113101 is claimed for an object whose pixels were judged without risk, read, "
    "masked or released by a person; not for objects without pixels, nor for video that "
    "nobody looked at. Automatic reading misses text; a site that needs more lets people "
    "review.",
)


def pixel_rows(policy: PixelPolicy) -> Iterator[Row]:
    """Yield what a profile decides, a row for each field of its section."""
    chosen = asdict(policy)
    for name, terms in _PIXEL_TERMS.items():
        yield (_PIXEL_NAMES[name], terms[chosen[name]])
