"""The OpenAPI document: what the framework derives, and the endpoint that bypasses it."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api import profile_openapi
from app.api.batch_schemas import BatchRequest
from app.api.problems import MEDIA_TYPE
from app.api.schemas import STUDY_EXAMPLE, ProblemDocument

DESCRIPTION: Final = (
    "De-identifies DICOM at the hospital's border and guards the way back. "
    "Errors are RFC 9457 problem documents that repeat nothing of the request; "
    "decide by their `code`."
)
SECURITY_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "API key `dgw_…`, or an access token of the configured OpenID provider.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/problems/{code}", "/signing-keys"})
_BINARY: Final = {"type": "string", "format": "binary"}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problem documents for the statuses that a route can answer with."""
    return {status: _problem(status) for status in statuses}


def describe(app: FastAPI) -> dict[str, Any]:
    """Build the document once; FastAPI calls this for ``/openapi.json``."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
        )
        components = document.setdefault("components", {})
        components["securitySchemes"] = SECURITY_SCHEMES
        schemas = components.setdefault("schemas", {})
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
        schemas["BatchRequest"] = BatchRequest.model_json_schema()
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        schemas |= profile_openapi.schemas()
        document["paths"]["/anonymize-stream"] = {"post": _anonymize_stream()}
        document["paths"]["/profiles/compare"] = {
            "post": profile_openapi.compare(_INSTANCE_BODY, _instance_problems())
        }
        document["paths"]["/profiles/{name}/explain"] = {
            "post": profile_openapi.explain(_INSTANCE_BODY, _instance_problems())
        }
        _finish_operations(document["paths"])
        app.openapi_schema = document
    return app.openapi_schema


def _finish_operations(paths: dict[str, Any]) -> None:
    for path, operations in paths.items():
        for operation in operations.values():
            responses = operation["responses"]
            responses.setdefault("429", _problem(429))  # every caller may come too often
            default = responses.get("422", {}).get("content", {}).get("application/json")
            if default is not None:  # FastAPI's own validation answer is never sent
                del responses["422"]
            if path not in PUBLIC_PATHS:
                operation["security"] = [{"bearer": []}, {"apiKey": []}]


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }


def _anonymize_stream() -> dict[str, Any]:
    return {
        "summary": "De-identify one SOP Instance",
        "description": "Send a DICOM Part 10 object, get it back de-identified. The mapping and "
        "the audit row are committed before the first byte of the answer leaves. "
        "Needs the scope `anonymize`.",
        "operationId": "anonymize_stream",
        "parameters": [
            _parameter("organization", "Act for this organisation; the key must allow it.", "DEMO"),
            _parameter("profile", "De-identify by this profile; the key must allow it.", "basic"),
        ],
        "requestBody": _INSTANCE_BODY,
        "responses": {
            "200": {
                "description": "The de-identified object.",
                "headers": _answer_headers(),
                "content": {
                    "application/dicom": {"schema": _BINARY},
                    "multipart/related": profile_openapi.RELATED,
                },
            },
            **_instance_problems(),
        },
    }


_INSTANCE_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/dicom": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": _BINARY},
                "additionalProperties": False,
            }
        },
    },
}


def _instance_problems() -> dict[str, Any]:
    """Describe the problems of endpoints that take one object."""
    statuses = (400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503)
    return {str(status): _problem(status) for status in statuses}


def _parameter(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _answer_headers() -> dict[str, Any]:
    texts = {
        "X-Cloud-Study-Id": ("The study's pseudonym.", STUDY_EXAMPLE),
        "X-Processed-At": ("When it was done, RFC 3339, UTC.", "2026-01-31T12:00:00.000Z"),
        "X-Deid-Profile": ("Name and version of the profile.", "basic;version=0123456789ab"),
        "X-Deid-Warnings": (
            "Codes and element paths, where there are any.",
            "kept-text-cleaned (0008,0070)",
        ),
        "Content-Disposition": (
            "A file name made of the pseudonym.",
            f'attachment; filename="{STUDY_EXAMPLE}.dcm"',
        ),
        "X-Request-Id": ("Finds the log lines.", "9f86d081884c7d65"),
    }
    return {
        name: {"description": description, "schema": {"type": "string"}, "example": example}
        for name, (description, example) in texts.items()
    }
