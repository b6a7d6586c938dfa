"""Ways to damage a stream: what fuzzers, bad disks and bad writers do."""

from collections.abc import Callable

from hypothesis import strategies as st

from tests.dicom.words import WORDS

Damage = Callable[[bytes], bytes]

_PLACES = st.integers(0, 0xFFFF)


def truncated(at: int) -> Damage:
    return lambda data: data[: at % (len(data) + 1)]


def flipped(at: int, mask: int) -> Damage:
    def apply(data: bytes) -> bytes:
        changed = bytearray(data)
        if changed:
            changed[at % len(changed)] ^= mask
        return bytes(changed)

    return apply


def overwritten(at: int, word: bytes) -> Damage:
    def apply(data: bytes) -> bytes:
        place = at % (len(data) + 1)
        return data[:place] + word + data[place + len(word) :]

    return apply


def spliced(at: int, begin: int, size: int, times: int) -> Damage:
    """Insert a piece of the stream somewhere else, several times."""

    def apply(data: bytes) -> bytes:
        place, start = at % (len(data) + 1), begin % (len(data) + 1)
        return data[:place] + data[start : start + size] * times + data[place:]

    return apply


def shortened(at: int, size: int) -> Damage:
    def apply(data: bytes) -> bytes:
        place = at % (len(data) + 1)
        return data[:place] + data[place + size :]

    return apply


def damages() -> st.SearchStrategy[Damage]:
    """One to four damages, one after the other."""
    one = (
        st.builds(truncated, _PLACES)
        | st.builds(flipped, _PLACES, st.integers(1, 255))
        | st.builds(overwritten, _PLACES, st.sampled_from(WORDS))
        | st.builds(spliced, _PLACES, _PLACES, st.integers(1, 300), st.integers(1, 40))
        | st.builds(shortened, _PLACES, st.integers(1, 60))
    )
    return st.lists(one, min_size=1, max_size=4).map(_in_turn)


def _in_turn(damages: list[Damage]) -> Damage:
    def apply(data: bytes) -> bytes:
        for damage in damages:
            data = damage(data)
        return data

    return apply
