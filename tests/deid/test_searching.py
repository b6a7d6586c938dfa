"""The search is compiled once, bounded in size, and finds long and many values too."""

import pytest

from app.deid.rules.identifiers import Kind
from app.deid.searching import compile_search
from app.errors import LimitExceeded


def test_equal_values_share_one_compiled_search() -> None:
    values = ((Kind.NAME, b"Quillonbury^Zebedee", b""),)

    assert compile_search(values) is compile_search(values)


def test_large_sets_of_values_are_searched_but_not_kept() -> None:
    values = tuple((Kind.NAME, f"Quill{n:05}bury^Zeb".encode(), b"") for n in range(1500))

    search = compile_search(values)

    assert search is not compile_search(values)
    assert list(search.hits(b"of quill01499bury")) == [(3, 17)]


def test_a_very_long_name_is_found_by_its_beginning() -> None:
    name = ("Möllersdörf" + "äöü" * 4000).encode()

    search = compile_search(((Kind.NAME, name, b"ISO_IR 192"),))

    assert list(search.hits(name[:2000]))


def test_more_values_than_an_instance_can_hold_are_refused() -> None:
    values = tuple((Kind.ID, f"ID{n:08}".encode(), b"") for n in range(20_001))

    with pytest.raises(LimitExceeded):
        compile_search(values)
