"""Pictures as JSON, for child processes. Pure; nothing here looks at pixels."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from app.pixels.model import Box, Palette, Picture

_COLOURS = ("red", "green", "blue")


def picture_to_json(picture: Picture) -> dict[str, Any]:
    """Return plain data that ``json.dumps`` takes."""
    content = asdict(picture)
    if content["palette"] is not None:
        for colour in _COLOURS:
            entries = base64.b64encode(content["palette"][colour]).decode("ascii")
            content["palette"][colour] = entries
    return content


def picture_from_json(content: Mapping[str, Any]) -> Picture:
    """Read what ``picture_to_json`` wrote, also after it was JSON."""
    window = content.get("window")
    picture = Picture(**{**content, "regions": (), "window": None, "palette": None})
    return replace(
        picture,
        image_type=tuple(picture.image_type),
        software=tuple(picture.software),
        regions=tuple(Box(**box) for box in content.get("regions", ())),
        window=None if window is None else (float(window[0]), float(window[1])),
        rescale=(float(picture.rescale[0]), float(picture.rescale[1])),
        palette=_palette(content.get("palette")),
        attributes=tuple((name, value) for name, value in content.get("attributes", ())),
    )


def _palette(content: Mapping[str, Any] | None) -> Palette | None:
    if content is None:
        return None
    colours = {colour: base64.b64decode(content[colour]) for colour in _COLOURS}
    return Palette(**{**content, **colours})
