"""3D models without the texts around their geometry: STL, OBJ, MTL.

Numbers are copied as they are written, so the geometry is the same bit for bit. What is no number
and no word of the format is left out, gets a neutral name, or makes the model one that is replaced.
Names get the same neutral name in every document of a study, so that an OBJ still finds its MTL.

Source: PS3.3 2026d, A.85.1 and A.104 (encapsulated models).
"""

import base64
import hashlib
import hmac
import re
import struct
from collections.abc import Callable, Iterator

from app.pixels.documents import Doubt, Why

#: Gives a neutral name for a name.
Renamer = Callable[[str], str]

_HEADER, _COUNT, _TRIANGLE = 80, 4, 50
_NAME_SYMBOLS = 10
_MAX_LINE = 1 << 20
_NUMBER = rb"[-+]?(?:\d{1,16}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?"
_NUMBERS = re.compile(rb"(?:%s)(?:[ \t]+(?:%s))*" % (_NUMBER, _NUMBER))


def renamer(key: bytes) -> Renamer:
    """Return what gives names neutral ones that nobody can guess without the key."""

    def rename(name: str) -> str:
        digest = hmac.digest(key, name.encode("utf-8", "surrogateescape"), hashlib.sha256)
        return "n" + base64.b32encode(digest).decode("ascii")[:_NAME_SYMBOLS].lower()

    return rename


# --- STL ----------------------------------------------------------------------------------------


def clean_stl(data: bytes) -> bytes:
    """Return an STL model without its header, names and attribute bytes.

    Raises:
        Doubt: it is no STL, or holds what no STL holds.
    """
    if _is_binary_stl(data):
        return _clean_binary_stl(data)
    if data.lstrip()[:5].lower() == b"solid":
        return _clean_ascii_stl(data)
    raise Doubt(Why.CONTRADICTORY)


def _is_binary_stl(data: bytes) -> bool:
    if len(data) < _HEADER + _COUNT:
        return False
    (count,) = struct.unpack_from("<I", data, _HEADER)
    return bool(len(data) == _HEADER + _COUNT + count * _TRIANGLE)


def _clean_binary_stl(data: bytes) -> bytes:
    """Blank the header and the two bytes behind each triangle, where colours or texts may be."""
    cleaned = bytearray(data)
    # Not "solid", by which readers tell the other kind.
    cleaned[:_HEADER] = bytes(_HEADER)
    first = _HEADER + _COUNT + _TRIANGLE - 2
    triangles = (len(data) - _HEADER - _COUNT) // _TRIANGLE
    cleaned[first::_TRIANGLE] = bytes(triangles)
    cleaned[first + 1 :: _TRIANGLE] = bytes(triangles)
    return bytes(cleaned)


_THREE = rb"[ \t]+(?:%s)[ \t]+(?:%s)[ \t]+(?:%s)" % (_NUMBER, _NUMBER, _NUMBER)
_STL_LINES = re.compile(
    rb"(?:(?P<solid>solid)|(?P<end>end[ \t]?solid))(?:[ \t].*)?"
    rb"|(?:facet[ \t]+normal|vertex)%s|outer[ \t]+loop|end[ \t]?loop|end[ \t]?facet" % _THREE,
    re.IGNORECASE,
)


def _clean_ascii_stl(data: bytes) -> bytes:
    out = bytearray()
    for line in _lines(data):
        found = _STL_LINES.fullmatch(line)
        if found is None:
            raise Doubt(Why.UNKNOWN_CONTENT)
        word = found["solid"] or found["end"]
        out += (word.lower().replace(b" ", b"") if word else line) + b"\n"
    return _even(out)


# --- OBJ and MTL --------------------------------------------------------------------------------

_PLAIN = frozenset(
    b"v vt vn vp f fo l p s deg bmat step parm trim hole scrv sp end con cstype curv curv2 surf "
    b"ctech stech bevel c_interp d_interp lod".split()
)
_NAMED = frozenset(b"g o usemtl mtllib usemap maplib newmtl mg".split())
# Faces and the like: numbers with slashes; free-form words of the format; switches.
_INDICES = re.compile(rb"-?\d{1,12}(?:/(?:-?\d{1,12})?){0,2}")
_WORDS = frozenset(
    b"u v on off rat bmatrix bezier bspline cardinal taylor cparma cparmb cspace curv".split()
)
_MATERIAL = frozenset(
    b"Ka Kd Ks Ke Tf Ns Ni d Tr illum sharpness Pr Pm Ps Pc Pcr aniso anisor".split()
)
_MAPS = frozenset(
    b"map_Ka map_Kd map_Ks map_Ke map_Ns map_d map_Tr map_bump map_Bump bump disp decal refl norm "
    b"map_Pr map_Pm map_Ps map_aat map_disp map_refl".split()
)
# How many arguments an option of a texture has at most, and which words they may be.
_OPTIONS = {
    b"-blendu": 1, b"-blendv": 1, b"-bm": 1, b"-boost": 1, b"-cc": 1, b"-clamp": 1,
    b"-imfchan": 1, b"-mm": 2, b"-o": 3, b"-s": 3, b"-t": 3, b"-texres": 1, b"-type": 1,
}  # fmt: skip
_OPTION_WORDS = frozenset(
    b"on off r g b m l z sphere cube_top cube_bottom cube_front cube_back cube_left "
    b"cube_right".split()
)
_SUFFIXES = (b".png", b".jpg", b".jpeg", b".tif", b".tiff", b".bmp", b".tga", b".mtl", b".obj")


def clean_obj(data: bytes, rename: Renamer) -> bytes:
    """Return an OBJ model without comments, with neutral names.

    Raises:
        Doubt: it holds what no rule covers, or no vertex.
    """
    out = bytearray()
    vertices = 0
    for line in _statements(data):
        word, *arguments = line.split()
        vertices += word == b"v"
        out += _obj_line(word, arguments, rename) + b"\n"
    if not vertices:
        raise Doubt(Why.CONTRADICTORY)
    return _even(out)


def clean_mtl(data: bytes, rename: Renamer) -> bytes:
    """Return an MTL library without comments, with neutral names.

    Raises:
        Doubt: it holds what no rule covers, or no material.
    """
    out = bytearray()
    materials = 0
    for line in _statements(data):
        word, *arguments = line.split()
        materials += word == b"newmtl"
        out += _mtl_line(word, arguments, rename) + b"\n"
    if not materials:
        raise Doubt(Why.CONTRADICTORY)
    return _even(out)


def _obj_line(word: bytes, arguments: list[bytes], rename: Renamer) -> bytes:
    if word in _NAMED and word != b"newmtl":
        return _renamed_line(word, arguments, rename)
    if word not in _PLAIN or not all(map(_is_plain_argument, arguments)):
        raise Doubt(Why.UNKNOWN_CONTENT)
    return b" ".join([word, *arguments])


def _is_plain_argument(argument: bytes) -> bool:
    is_number = _NUMBERS.fullmatch(argument) or _INDICES.fullmatch(argument)
    return bool(is_number) or argument in _WORDS


def _mtl_line(word: bytes, arguments: list[bytes], rename: Renamer) -> bytes:
    if word == b"newmtl":
        return _renamed_line(word, arguments, rename)
    if word in _MAPS:
        return _map_line(word, arguments, rename)
    if word not in _MATERIAL or not all(map(_is_material_argument, arguments)):
        raise Doubt(Why.UNKNOWN_CONTENT)
    return b" ".join([word, *arguments])


def _is_material_argument(argument: bytes) -> bool:
    return bool(_NUMBERS.fullmatch(argument)) or argument in {b"xyz", b"-halo"}


def _map_line(word: bytes, arguments: list[bytes], rename: Renamer) -> bytes:
    """Rename the file of a texture, whose name may hold spaces; its options stay."""
    options: list[bytes] = []
    rest = list(arguments)
    while rest and rest[0] in _OPTIONS:
        option = rest.pop(0)
        options.append(option)
        count = 0
        while count < min(_OPTIONS[option], len(rest)) and _is_option_word(rest[count]):
            count += 1
        options += rest[:count]
        del rest[:count]
    if not rest:
        raise Doubt(Why.UNKNOWN_CONTENT)
    return b" ".join([word, *options, _file(b" ".join(rest), rename)])


def _is_option_word(argument: bytes) -> bool:
    return bool(_NUMBERS.fullmatch(argument)) or argument in _OPTION_WORDS


def _renamed_line(word: bytes, arguments: list[bytes], rename: Renamer) -> bytes:
    """Give every name of a line a neutral one; ``off`` and ``default`` are words of the format."""
    if word in {b"mtllib", b"maplib"}:
        return b" ".join([word, *(_file(name, rename) for name in arguments)])
    if word in {b"g", b"mg"}:
        return b" ".join([word, *(_name(name, rename) for name in arguments)])
    # The names of objects and materials may hold spaces.
    name = b" ".join(arguments)
    return word + b" " + _name(name, rename) if name else word


_KEPT_NAMES = frozenset((b"default", b"off", b"0", b"1"))


def _name(name: bytes, rename: Renamer) -> bytes:
    return name if name in _KEPT_NAMES else rename(_text(name)).encode()


def _file(name: bytes, rename: Renamer) -> bytes:
    suffix = next((s for s in _SUFFIXES if name.lower().endswith(s)), b"")
    return rename(_text(name)).encode() + suffix


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _statements(data: bytes) -> Iterator[bytes]:
    """Yield lines without comments, continued ones joined."""
    joined = re.sub(rb"\\[ \t]*\r?\n", b" ", data)
    for line in _lines(joined):
        statement = line.split(b"#", 1)[0].strip()
        if statement:
            yield statement


def _lines(data: bytes) -> Iterator[bytes]:
    """Yield lines with something in them, without padding.

    Raises:
        Doubt: it is no text.
    """
    text = data.rstrip(b"\0").removeprefix(b"\xef\xbb\xbf")
    if b"\0" in text:
        raise Doubt(Why.CONTRADICTORY)
    for line in text.replace(b"\r", b"\n").split(b"\n"):
        stripped = line.strip()
        if len(stripped) > _MAX_LINE:
            raise Doubt(Why.TOO_LARGE)
        if stripped:
            yield stripped


def _even(out: bytearray) -> bytes:
    return bytes(out) + b"\n" * (len(out) % 2)
