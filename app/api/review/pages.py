"""Makes pages: templates, their headers, and the files that browsers load beside them."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from jinja2 import Environment

HERE: Final = Path(__file__).parent
# Nothing but our own files, no script or style in a page, no frame around it, forms to us alone.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
# ``review.js`` imports the others, by names that are relative to its own address.
SCRIPTS: Final = (
    "review.js",
    "boxes.js",
    "deciding.js",
    "drawing.js",
    "keyboard.js",
    "list.js",
    "masks.js",
    "overlay.js",
    "page.js",
    "staying.js",
    "view.js",
)
STATIC: Final[Mapping[str, str]] = {
    "review.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8"),
}
# The address of all files changes with the content of any: modules of two versions never meet.
_KEPT: Final = "private, max-age=86400, immutable"


def page(template: str, *, status: int = 200, **shown: Any) -> Response:  # noqa: ANN401
    """Return a page.

    Args:
        template: its name, without the ending.
        status: of the answer.
        shown: what the template names; escaped wherever it stands.
    """
    text = _templates().get_template(f"{template}.html").render(shown)
    return Response(text, status, HEADERS, media_type="text/html")


def static(version: str, name: str) -> Response | None:
    """Return a file that pages load; None where there is none by that name.

    Args:
        version: of all files; one that another process serves has none here.
        name: of the file.
    """
    if name not in STATIC or version != _version():
        return None
    return Response(_content(name), headers={"Content-Type": STATIC[name], "Cache-Control": _KEPT})


def address_of(name: str) -> str:
    """Return where browsers find a file."""
    return f"/review/static/{_version()}/{name}"


@lru_cache
def _version() -> str:
    return sha256(b"".join(sha256(_content(name)).digest() for name in STATIC)).hexdigest()[:12]


@lru_cache
def _content(name: str) -> bytes:
    return (HERE / "static" / name).read_bytes()


@lru_cache
def _templates() -> "Environment":
    # Only processes that somebody looks at pages of need it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"address_of": address_of, "scripts": SCRIPTS}
    return made
