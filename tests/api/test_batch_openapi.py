"""The description of the batch routes: complete, and with examples that are true."""

from typing import Any

import pytest
from pydantic import BaseModel

from app.api import batch_schemas
from app.api.application import create_app
from app.api.batch_schemas import BatchRepresentation, BatchRequest
from app.batches.states import BatchState, ItemState, OnError, Priority


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app().openapi()


def test_the_three_forms_of_a_request_are_described(document: dict[str, Any]) -> None:
    prepare = document["paths"]["/batch-prepare"]["post"]

    bodies = prepare["requestBody"]["content"]
    form = bodies["multipart/form-data"]["schema"]
    parameters = {parameter["name"]: parameter["in"] for parameter in prepare["parameters"]}
    assert set(bodies) == {"application/json", "application/zip", "multipart/form-data"}
    assert set(form["properties"]) == (
        set(BatchRequest.model_fields) - {"study_directory", "source_url"} | {"archive"}
    )
    assert parameters == {
        "Idempotency-Key": "header",
        "Prefer": "header",
        **dict.fromkeys(set(form["properties"]) - {"archive"}, "query"),
    }
    assert {"200", "202", "400", "401", "403", "409", "413", "415", "422"} < set(
        prepare["responses"]
    )
    assert set(prepare["responses"]["202"]["headers"]) == {
        *("Location", "Retry-After", "Preference-Applied"),
    }


def test_keys_are_public_and_batches_are_not(document: dict[str, Any]) -> None:
    paths = document["paths"]

    secured = {
        path: "security" in operation
        for path, operations in paths.items()
        for operation in operations.values()
        if "batch" in path or path == "/signing-keys"
    }

    assert secured.pop("/signing-keys") is False
    assert all(secured.values())


def test_events_are_described_with_an_example(document: dict[str, Any]) -> None:
    responses = document["paths"]["/batches/{batch_id}/events"]["get"]["responses"]

    assert "event: ended" in responses["200"]["content"]["text/event-stream"]["example"]
    assert "204" in responses


@pytest.mark.parametrize("model", [BatchRequest, BatchRepresentation, batch_schemas.SigningKeys])
def test_the_examples_are_valid(model: type[BaseModel]) -> None:
    [example] = model.model_json_schema()["examples"]

    assert model.model_validate_json(model.model_validate(example).model_dump_json())


def test_the_description_knows_every_state() -> None:
    batch = BatchRepresentation.model_json_schema()["properties"]
    item = batch_schemas.BatchItem.model_json_schema()["properties"]

    assert set(batch["state"]["enum"]) == set(map(str, BatchState))
    assert set(batch["on_error"]["enum"]) == set(map(str, OnError))
    assert set(batch["priority"]["enum"]) == {priority.name for priority in Priority}
    assert set(item["state"]["enum"]) == set(map(str, ItemState))
