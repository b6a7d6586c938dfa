"""What is said in a header of pixels that were looked at, and of those that were changed."""

from collections.abc import Iterator, Sequence

from app.deid.attributes import (
    BURNED_IN,
    DERIVATION_CODES,
    DERIVATION_DESCRIPTION,
    IMAGE_TYPE,
    LOSSY,
    LOSSY_METHOD,
    LOSSY_RATIO,
    PALETTES,
    PHOTOMETRIC,
)
from app.deid.options import Option
from app.deid.profile import Profile
from app.deid.substitutes import Fact
from app.pipeline.root import RootValues
from app.pipeline.side_work import Masked, Work
from app.pixels.model import Picture, Verdict
from app.pixels.risk import is_video

# Codes of CID 7203. Source: PS3.16 2026d.
_MASKED_CODE = "113047\0Pixel by pixel mask"
_LOSSY_CODE = "113040\0Lossy Compression"
_MARK = "burned-in text masked"
_SHARED_GROUPS = 0x52009229
# Enhanced CT, MR, MR colour, XA, XRF, PET and X-ray 3D. Source: PS3.4 2026d, B.5.
_ENHANCED = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2.1", "4.1", "4.3", "12.1.1", "12.2.1", "13.1.1", "13.1.2", "13.1.3", "130")
)
_LISTS = b"\\"
_MAX_RATIO = 9999.0
# Transfer syntaxes → terms of (0028,2114). Source: PS3.3 2026d, C.7.6.1.1.5.1.
_METHODS = (
    ("1.2.840.10008.1.2.4.5", "ISO_10918_1"),
    ("1.2.840.10008.1.2.4.8", "ISO_14495_1"),
    ("1.2.840.10008.1.2.4.9", "ISO_15444_1"),
    ("1.2.840.10008.1.2.4.20", "ISO_15444_15"),
)


def is_claimed(picture: Picture | None, work: Work | None) -> bool:
    """Say whether Clean Pixel Data is true of an object: somebody or something vouches for it.

    It is not where there are no pixels, and not of a video, into which nobody looks.
    """
    if picture is None or work is None or work.decision is None or is_video(picture):
        return False
    return work.decision.verdict in {Verdict.PASS, Verdict.MASK}


def codes_of(profile: Profile, *, is_clean: bool) -> tuple[tuple[str, str], ...]:
    """Return the codes of a profile that are true of one object."""
    mine = Option.CLEAN_PIXEL_DATA.code
    return tuple(code for code in profile.method_codes if is_clean or code != mine)


def facts_of(
    picture: Picture | None, work: Work | None, root: RootValues, *, describes: bool
) -> dict[int, Fact]:
    """Return tag → what is stated.

    Args:
        picture: of the instance as it came.
        work: what was done.
        root: its values.
        describes: whether the profile leaves a description of how an image was derived.
    """
    if picture is None or work is None or not is_claimed(picture, work):
        return {}
    facts = {BURNED_IN: Fact("CS", b"NO")}
    if work.masked is not None:
        facts |= dict(_changes(work.masked, picture, root, is_masked=bool(_marks(work))))
    if _marks(work):
        joint = b"; " if describes else None
        facts[DERIVATION_DESCRIPTION] = Fact("ST", _MARK.encode(), joint, is_described=True)
        is_lossy = work.masked is not None and work.masked.is_lossy_again
        codes = [_MASKED_CODE, *([_LOSSY_CODE] if is_lossy else [])]
        facts[DERIVATION_CODES] = Fact("SQ", "\n".join(codes).encode())
    return facts


def _marks(work: Work) -> int:
    return len(work.decision.marks) if work.decision and work.masked else 0


def _changes(
    masked: Masked, picture: Picture, root: RootValues, *, is_masked: bool
) -> Iterator[tuple[int, Fact]]:
    # In enhanced images DERIVED forbids what the IOD requires of originals, in each frame.
    is_enhanced = picture.sop_class in _ENHANCED or _SHARED_GROUPS in root.places
    if is_masked and IMAGE_TYPE in root.places and not is_enhanced:
        yield IMAGE_TYPE, Fact("CS", b"")
    if masked.photometric:
        yield PHOTOMETRIC, Fact("CS", masked.photometric.encode())
    if masked.is_lossy_again:
        yield LOSSY, Fact("CS", b"01")
        yield LOSSY_RATIO, Fact("DS", f"{_ratio(masked, picture):.4g}".encode(), _LISTS)
        yield LOSSY_METHOD, Fact("CS", _method(picture.transfer_syntax).encode(), _LISTS)
    if picture.palette is not None and masked.used_entries is not None:
        yield from _palettes(masked.used_entries, picture, root)


def _palettes(
    used: Sequence[tuple[int, int]], picture: Picture, root: RootValues
) -> Iterator[tuple[int, Fact]]:
    """Yield the palettes without the entries that no pixel uses any more.

    In their place stands the highest value: it is in keeping with the bits of the descriptor.
    """
    palette = picture.palette
    assert palette is not None  # noqa: S101 - the caller asked
    for tag in PALETTES:
        raw = root.raw(tag)
        size = 2 if len(raw) >= 2 * palette.entries else 1
        entries = bytearray(raw)
        nothing = ((1 << palette.bits) - 1).to_bytes(2, "little")[:size]
        behind = 0
        for first, last in (*used, (palette.entries, palette.entries)):
            unused = range(behind, min(first, palette.entries))
            entries[unused.start * size : unused.stop * size] = nothing * len(unused)
            behind = last + 1
        if entries != raw:
            yield tag, Fact("OW", bytes(entries))


def _ratio(masked: Masked, picture: Picture) -> float:
    bits = picture.rows * picture.columns * picture.samples * picture.bits_stored * picture.frames
    return min(max(bits / 8 / max(masked.size, 1), 1.0), _MAX_RATIO)


def _method(transfer_syntax: str) -> str:
    return next((term for start, term in _METHODS if transfer_syntax.startswith(start)), "")
