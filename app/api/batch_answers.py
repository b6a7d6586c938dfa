"""How batches are answered: status, headers, pages."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from app import telemetry
from app.api.batch_preferences import Preferences
from app.batches.records import Batch, Item, Original
from app.batches.representation import representation
from app.batches.states import ENDED

MEDIA_TYPE: Final = "application/json"
RETRY_AFTER_S: Final = 2
NO_STORE: Final = {"Cache-Control": "no-store"}


def shown(batch: Batch) -> dict[str, Any]:
    """Describe a batch as of now."""
    return representation(batch, telemetry.utc_now())


def answer(
    content: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON that nobody keeps."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, {**NO_STORE, **(headers or {})}, MEDIA_TYPE)


def accepted(batch: Batch, preferred: Preferences | None = None) -> Response:
    """Answer with a batch that is worked on, or has ended meanwhile."""
    has_ended = batch.state in ENDED
    headers = {"Location": f"/batches/{batch.batch_id}", "Vary": "Prefer"}
    applied = preferred.applied(has_ended=has_ended) if preferred else None
    if applied:
        headers["Preference-Applied"] = applied
    if not has_ended:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer(shown(batch), status=200 if has_ended else 202, headers=headers)


def page(
    name: str,
    entries: Sequence[Mapping[str, Any]],
    following: str | None,
    **further: Any,  # noqa: ANN401 - members of a JSON object
) -> Response:
    """Answer with one page of a list."""
    headers = {"Link": f'<{following}>; rel="next"'} if following else None
    return answer({**further, name: list(entries), "next": following}, headers=headers)


def next_page(path: str, **parameters: object) -> str:
    """Name the page that follows."""
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}"


def item_fields(item: Item) -> dict[str, Any]:
    """Describe a file of a batch; what does not apply is null."""
    return {
        "seq": item.seq,
        "state": str(item.state),
        "code": item.code or None,
        "detail": item.detail or None,
        "element_path": item.element_path or None,
        "warnings": list(item.warnings),
        "cloud_study_id": item.cloud_study_id or None,
        "series_uid": item.series_uid or None,
        "sop_instance_uid": item.sop_instance_uid or None,
        "file": item.file or None,
        "size": item.size if item.sha256 else None,
        "sha256": item.sha256 or None,
        "quarantine_id": item.quarantine_id or None,
    }


def original_fields(original: Original) -> dict[str, Any]:
    """Say which file an item was; bytes of its name that are no text stand as escapes."""
    return {
        "seq": original.seq,
        "state": str(original.state),
        "code": original.code or None,
        "original_name": _legible(original.name),
        "cloud_study_id": original.cloud_study_id or None,
        "sop_instance_uid": original.sop_instance_uid or None,
    }


def _legible(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")
