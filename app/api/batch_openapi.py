"""What the OpenAPI document says of batches beyond what the framework derives."""

from typing import Any, Final

from app.api.batch_preferences import MAX_KEY_CHARACTERS, MAX_WAIT_S
from app.api.batch_schemas import BATCH_EXAMPLE, BatchRepresentation, BatchRequest

_SCHEMA: Final = {"$ref": "#/components/schemas/BatchRequest"}
_BINARY: Final = {"type": "string", "format": "binary"}
_LOCATION: Final = f"/batches/{BATCH_EXAMPLE}"


def _header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


def _form() -> dict[str, Any]:
    schema = BatchRequest.model_json_schema()
    properties = {
        name: field
        for name, field in schema["properties"].items()
        if name not in {"study_directory", "source_url"}
    }
    return {
        "type": "object",
        "required": ["archive"],
        "properties": {**properties, "archive": {**_BINARY, "description": "A ZIP archive."}},
        "additionalProperties": False,
    }


def _query() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": f"With application/zip only. {field.get('description', '')}",
            "schema": {k: v for k, v in field.items() if k not in {"description", "title"}},
        }
        for name, field in _form()["properties"].items()
        if name != "archive"
    ]


PREPARE: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Makes it safe to send the request again: the same key and request "
            f"answer the same batch. 1 to {MAX_KEY_CHARACTERS} visible ASCII characters; write no "
            "patient's data into it.",
            "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_CHARACTERS}}}$"},
            "example": "nightly-2026-01-31-17",
        },
        {
            "name": "Prefer",
            "in": "header",
            "required": False,
            "description": f"`wait=30` holds the answer until the batch has ended, at most "
            f"{MAX_WAIT_S} seconds; `respond-async` asks for none of that.",
            "schema": {"type": "string"},
            "example": "wait=30",
        },
        *_query(),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA},
            "application/zip": {"schema": _BINARY},
            "multipart/form-data": {"schema": _form()},
        },
    },
}

PREPARE_HEADERS: Final = {
    "Location": _header("Where the batch can be asked for.", _LOCATION),
    "Preference-Applied": _header("What of `Prefer` was followed.", "wait=30"),
}

ENDED: Final[dict[str, Any]] = {
    "model": BatchRepresentation,
    "description": "The batch has ended, within the time that was waited or before.",
    "headers": PREPARE_HEADERS,
}

ACCEPTED: Final[dict[str, Any]] = {
    "model": BatchRepresentation,
    "description": "The batch is taken and not done yet.",
    "headers": {
        **PREPARE_HEADERS,
        "Retry-After": _header("Seconds until it is worth asking.", "2"),
    },
}

EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events: `progress` with every change, `ended` once at the "
        "end, after which the stream ends. `id` is the version, `data` the batch in JSON.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 9\nevent: ended\ndata: {"batch_id":"…","state":"succeeded",…}\n\n',
            }
        },
    },
    204: {"description": "The batch has ended, and the caller knows that already."},
}

LINKED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {"Link": _header("The next page, where there is one.", '<…>; rel="next"')}}
}
