"""What the OpenAPI document says of the endpoints that explain, which bypass the framework."""

from typing import Any, Final

from pydantic import BaseModel

from app.api.profile_schemas import Comparison, ExplainedObject, ObjectReport

SCHEMAS: Final[tuple[type[BaseModel], ...]] = (Comparison, ExplainedObject, ObjectReport)
REF_TEMPLATE: Final = "#/components/schemas/{model}"
_BINARY: Final = {"type": "string", "format": "binary"}


def schemas() -> dict[str, Any]:
    """Return the schemas of the answers, each under its name."""
    found: dict[str, Any] = {}
    for model in SCHEMAS:
        schema = model.model_json_schema(ref_template=REF_TEMPLATE)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found


def explain(body: dict[str, Any], problems: dict[str, Any]) -> dict[str, Any]:
    """Describe ``POST /profiles/{name}/explain``.

    Args:
        body: how an object is sent.
        problems: the problem documents that can be answered.
    """
    parameters = [
        {**_parameter("name", "The profile; the caller must be allowed it.", "basic"), **_IN_PATH},
        _parameter("organization", "Act for this organisation.", "DEMO"),
        _parameter("values", "Tell values as well; needs the scope `reidentify` too.", "false"),
    ]
    return {
        "summary": "Explain what a profile does to an object",
        "description": "Send a DICOM Part 10 object as for `/anonymize-stream`; the answer names "
        "every element with its action and the rule that decided. Nothing is stored of the object, "
        "no mapping is made, and no pseudonym is told. Needs the scope `anonymize`.",
        "operationId": "explain_object",
        "parameters": parameters,
        "requestBody": body,
        "responses": {"200": _answer("What became of every element.", ExplainedObject), **problems},
    }


def compare(body: dict[str, Any], problems: dict[str, Any]) -> dict[str, Any]:
    """Describe ``POST /profiles/compare``; arguments as for ``explain``."""
    parameters = [
        {**_parameter("left", "A profile.", "basic"), "required": True},
        {**_parameter("right", "Another profile.", "teleradiology"), "required": True},
        _parameter("organization", "Act for this organisation.", "DEMO"),
    ]
    return {
        "summary": "Show what two profiles do differently to an object",
        "description": "Send a DICOM Part 10 object as for `/anonymize-stream`; the answer names "
        "the elements that the two profiles treat differently. Needs the scope `anonymize`.",
        "operationId": "compare_profiles",
        "parameters": parameters,
        "requestBody": body,
        "responses": {"200": _answer("The differences.", Comparison), **problems},
    }


#: The answer of ``/anonymize-stream`` to those who ask for the report as well.
RELATED: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "properties": {"object": _BINARY, "report": {"$ref": "#/components/schemas/ObjectReport"}},
    },
    "encoding": {
        "object": {"contentType": "application/dicom"},
        "report": {"contentType": "application/json"},
    },
}
_IN_PATH: Final = {"in": "path", "required": True}


def _parameter(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _answer(description: str, model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": REF_TEMPLATE.format(model=model.__name__)}
    return {"description": description, "content": {"application/json": {"schema": reference}}}
