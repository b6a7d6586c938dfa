"""What a mask rule may look at in the header of an image: a closed list. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

from app.pixels.model import Picture

Values = tuple[str, ...]
#: Longest value that is compared; what is longer is cut by whoever fills a picture.
MAX_VALUE: Final = 256

#: Attributes of the data set's root beside those of a picture: name in rules → tag.
OTHERS: Final[Mapping[str, int]] = {
    "presentation_intent": 0x00080068,
    "institution_name": 0x00080080,
    "station_name": 0x00081010,
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "derivation_description": 0x00082111,
    "body_part": 0x00180015,
    "protocol_name": 0x00181030,
    "device_serial_number": 0x00181000,
    "capture_device_id": 0x00181010,
    "hardcopy_manufacturer": 0x00181017,
    "capture_manufacturer": 0x00181016,
    "capture_model": 0x00181018,
    "capture_software": 0x00181019,
    "acquisition_processing": 0x00181400,
    "view_position": 0x00185101,
    "series_number": 0x00200011,
    "window_centre": 0x00281050,
    "window_width": 0x00281051,
    "dose_comments": 0x00400310,
    "label_in_image": 0x00480010,
    "overlay_description": 0x60000022,
}

#: Attributes that a picture holds: name in rules → tag.
OWN: Final[Mapping[str, int]] = {
    "image_type": 0x00080008,
    "sop_class": 0x00080016,
    "modality": 0x00080060,
    "conversion": 0x00080064,
    "manufacturer": 0x00080070,
    "model": 0x00081090,
    "software": 0x00181020,
    "samples": 0x00280002,
    "photometric": 0x00280004,
    "frames": 0x00280008,
    "rows": 0x00280010,
    "columns": 0x00280011,
    "bits_allocated": 0x00280100,
    "bits_stored": 0x00280101,
    "burned_in": 0x00280301,
    "recognizable": 0x00280302,
}
NUMBERS: Final = frozenset(
    {"samples", "frames", "rows", "columns", "bits_allocated", "bits_stored"}
)
NAMES: Final[Mapping[str, int]] = {**OWN, **OTHERS}
#: Attributes with several values.
LISTS: Final = frozenset(
    {"image_type", "software", "capture_software", "window_centre", "window_width"}
)


def values_of(picture: Picture, name: str) -> Values:
    """Return the values of one attribute as texts; a single empty one where it is absent.

    Raises:
        KeyError: no rule may look at it.
    """
    return _READERS[name](picture)


def _own(name: str) -> Callable[[Picture], Values]:
    if name in LISTS:
        return lambda picture: getattr(picture, name) or ("",)
    return lambda picture: (str(getattr(picture, name)),)


def _other(name: str) -> Callable[[Picture], Values]:
    def read(picture: Picture) -> Values:
        for key, value in picture.attributes:
            if key == name:
                return tuple(part.strip() for part in value.split("\\"))
        return ("",)

    return read


_READERS: Final[Mapping[str, Callable[[Picture], Values]]] = {
    **{name: _own(name) for name in OWN},
    **{name: _other(name) for name in OTHERS},
}


class View:
    """An image as conditions see it; every value is read and folded once for all rules."""

    __slots__ = ("_folded", "_picture", "_values")

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._values: dict[str, Values] = {}
        self._folded: dict[str, Values] = {}

    def values(self, name: str) -> Values:
        """Return an attribute's values; several also joined, as they are written."""
        found = self._values.get(name)
        if found is None:
            found = values_of(self._picture, name)
            if len(found) > 1:
                found = (*found, "\\".join(found))
            self._values[name] = found
        return found

    def folded(self, name: str) -> Values:
        """Return the same without regard to case."""
        found = self._folded.get(name)
        if found is None:
            found = self._folded[name] = tuple([value.casefold() for value in self.values(name)])
        return found
