"""Profiles written as people write them: what ``profile`` reads, to the same version."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import yaml

from app.deid.overrides import ALWAYS, Override
from app.deid.pixel_policy import pixel_policy_content
from app.deid.private import SafeElement
from app.deid.profile_model import Profile, Unlisted
from app.deid.standard import keyword
from app.dicom.elements import tag_text


def profile_content(profile: Profile) -> dict[str, Any]:
    """Return a profile in the form of a profile file; what it does not say is left out."""
    content: dict[str, Any] = {
        "name": profile.name,
        "description": profile.description,
        "options": [str(option) for option in profile.options],
        "identity": asdict(profile.identity),
        "burned_in": str(profile.burned_in),
    }
    if profile.unlisted is not Unlisted.BY_VR:
        content["unlisted"] = str(profile.unlisted)
    if pixels := pixel_policy_content(profile.pixels):
        content["pixels"] = pixels
    if profile.safe_private:
        content["safe_private"] = list(_blocks(profile.safe_private))
    if profile.overrides:
        content["overrides"] = [_override(one) for one in profile.overrides]
    if profile.vocabulary:
        content["vocabulary"] = {_name(tag): sorted(known) for tag, known in profile.vocabulary}
    return content


def profile_text(profile: Profile) -> str:
    """Return a profile as YAML; the version stands in a comment."""
    written = yaml.safe_dump(profile_content(profile), sort_keys=False, allow_unicode=True)
    return f"# Version {profile.version}\n{written}"


def _blocks(elements: tuple[SafeElement, ...]) -> Iterator[dict[str, Any]]:
    """Yield the private blocks of safe elements, in their order."""
    block: dict[str, Any] = {}
    for one in elements:
        place = {"creator": one.creator, "group": f"{one.group:04X}"}
        low_byte = f"{one.low_byte:02X}"
        if block and (block | place != block or low_byte in block["elements"]):
            yield block
            block = {}
        block = block or {**place, "elements": {}}
        block["elements"][low_byte] = one.vr
    if block:
        yield block


def _override(one: Override) -> dict[str, Any]:
    content = _target(one) | {"action": str(one.deed)}
    if one.value:
        content["value"] = one.value
    if one.path is not None:
        content["at"] = "/".join(map(_name, one.path)) or "root"
    if one.when != ALWAYS:
        conditions = asdict(one.when).items()
        content["when"] = {field: list(texts) for field, texts in conditions if texts}
    return content


def _target(one: Override) -> dict[str, Any]:
    if one.private is not None:
        element = one.private
        content = {"creator": element.creator, "group": f"{element.group:04X}"}
        content["element"] = f"{element.low_byte:02X}"
        return {"private": content | ({"vr": element.vr} if element.vr else {})}
    if one.vr:
        return {"vr": one.vr}
    place, _, name = one.target.partition(" ")
    return {"keyword": name} if name else {"tag": place}


def _name(tag: int) -> str:
    return keyword(tag) or tag_text(tag)
