"""3D models keep their geometry bit for bit and lose every text."""

import struct

import numpy as np
import pytest

from app.pixels.documents import Doubt, Why
from app.pixels.documents.models import clean_mtl, clean_obj, clean_stl, renamer

TRIANGLES = np.random.default_rng(7).random((20, 12), dtype=np.float32)
RENAME = renamer(b"a key of one study")
ASCII_STL = b"""solid Kensington^Jonathan 1961
facet normal 0 0 1.0
  outer loop
    vertex 0.125 0 -1e-3
    vertex 1 0 0
    vertex 0 1 0
  endloop
endfacet
endsolid Kensington
"""
OBJ = b"""# made for Kensington
mtllib kensington head.mtl
o Jonathan Kensington
g skin kensington
v 0.125000 1 2 # Jonathan
v 1 1 2
v 1 0 2
vt 0.5 0.25
vn 0 0 1
usemtl skin of Kensington
s off
f 1/1/1 2/1/1 \\
3//1
l 1 2
"""
_GEOMETRY = (b"v ", b"vt", b"vn", b"s ", b"f ", b"l ")
MTL = b"""# Kensington
newmtl skin of Kensington
Ka 0.1 0.2 0.3
Ns 96.078431
illum 2
map_Kd -s 1 1 1 -clamp on Jonathan Kensington.PNG
"""


def binary_stl(header: bytes = b"MRN884211 Kensington", attribute: int = 0x4142) -> bytes:
    triangles = b"".join(
        triangle.astype("<f4").tobytes() + struct.pack("<H", attribute) for triangle in TRIANGLES
    )
    return header.ljust(80) + struct.pack("<I", len(TRIANGLES)) + triangles


def triangles_of(data: bytes) -> list[bytes]:
    return [data[84 + 50 * n :][:48] for n in range((len(data) - 84) // 50)]


def test_a_binary_stl_keeps_its_triangles_only() -> None:
    cleaned = clean_stl(binary_stl())

    assert triangles_of(cleaned) == triangles_of(binary_stl())
    assert cleaned[:80] == bytes(80)
    assert all(cleaned[84 + 50 * n + 48 :][:2] == b"\0\0" for n in range(20))
    assert len(cleaned) == len(binary_stl())


def test_a_binary_stl_may_begin_like_the_other_kind() -> None:
    assert clean_stl(binary_stl(b"solid Kensington")) == clean_stl(binary_stl())


def test_an_ascii_stl_keeps_its_numbers_as_they_are_written() -> None:
    cleaned = clean_stl(ASCII_STL)

    assert cleaned.split(b"\n")[:4] == [
        b"solid",
        b"facet normal 0 0 1.0",
        b"outer loop",
        b"vertex 0.125 0 -1e-3",
    ]
    assert b"ensington" not in cleaned
    assert len(cleaned) % 2 == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"solid x\nfacet normal 0 0 1\n color Kensington\n", Why.UNKNOWN_CONTENT),
        (b"solid x\nvertex 1 2\n", Why.UNKNOWN_CONTENT),
        (binary_stl() + b"Kensington", Why.CONTRADICTORY),
        (b"%PDF-1.4", Why.CONTRADICTORY),
        (b"solid \0\0\0 binary after all", Why.CONTRADICTORY),
    ],
    ids=["unknown-word", "two-numbers", "surplus", "pdf", "binary"],
)
def test_what_is_no_stl_is_doubtful(data: bytes, why: Why) -> None:
    with pytest.raises(Doubt) as doubt:
        clean_stl(data)

    assert doubt.value.why is why


def test_an_obj_keeps_its_geometry_and_no_text() -> None:
    cleaned = clean_obj(OBJ, RENAME)

    numbers = [line for line in cleaned.split(b"\n") if line[:2] in _GEOMETRY]
    assert numbers == [
        b"v 0.125000 1 2",
        b"v 1 1 2",
        b"v 1 0 2",
        b"vt 0.5 0.25",
        b"vn 0 0 1",
        b"s off",
        b"f 1/1/1 2/1/1 3//1",
        b"l 1 2",
    ]
    assert b"ensington" not in cleaned
    assert b"onathan" not in cleaned


def test_the_names_of_materials_are_the_same_in_both_documents() -> None:
    used = next(x for x in clean_obj(OBJ, RENAME).split(b"\n") if x.startswith(b"usemtl "))
    made = next(x for x in clean_mtl(MTL, RENAME).split(b"\n") if x.startswith(b"newmtl "))

    assert used.split()[1] == made.split()[1]


def test_names_differ_with_the_key() -> None:
    assert renamer(b"one")("skin") != renamer(b"two")("skin")


def test_an_mtl_keeps_its_numbers_and_options() -> None:
    cleaned = clean_mtl(MTL, RENAME).split(b"\n")

    assert cleaned[1:4] == [b"Ka 0.1 0.2 0.3", b"Ns 96.078431", b"illum 2"]
    assert cleaned[4].startswith(b"map_Kd -s 1 1 1 -clamp on n")
    assert cleaned[4].endswith(b".png")
    assert b"ensington" not in b"\n".join(cleaned)


@pytest.mark.parametrize(
    "line",
    [b"call kensington.obj", b"csh -echo x", b"v 1 2 Kensington", b"author x", b"v 1 2 3\0"],
    ids=["call", "command", "word-in-numbers", "unknown", "binary"],
)
def test_an_obj_with_anything_else_is_doubtful(line: bytes) -> None:
    with pytest.raises(Doubt):
        clean_obj(OBJ + line + b"\n#", RENAME)


@pytest.mark.parametrize("line", [b"map_Kd -clamp on", b"Kd spectral kensington.rfl", b"note x"])
def test_an_mtl_with_anything_else_is_doubtful(line: bytes) -> None:
    with pytest.raises(Doubt):
        clean_mtl(MTL + line + b"\n", RENAME)


def test_texts_without_geometry_are_no_models() -> None:
    with pytest.raises(Doubt):
        clean_obj(b"# Kensington\n", RENAME)
    with pytest.raises(Doubt):
        clean_mtl(b"# Kensington\n", RENAME)
