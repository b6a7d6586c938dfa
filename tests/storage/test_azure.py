"""Azure Blob Storage: settings of the upload, verification and credentials."""

import pytest

from app import errors
from tests.storage.fault_proxy import FaultProxy
from tests.storage.places import PART, publish

NAME = "b1/CS-ABC/2.25.1/2.25.2.dcm"
BOTH_SIZES = pytest.mark.parametrize("size", [1000, 2 * PART + 17])


@pytest.fixture
def azure_proxy(azure):
    with FaultProxy(azure.url) as made:
        yield made


@BOTH_SIZES
async def test_the_access_tier_is_the_one_that_was_set(azure, stage, size):
    await publish(azure.destination(storage_class="Cool"), NAME, stage(size))

    assert azure.head(NAME)["x-ms-access-tier"] == "Cool"


async def test_an_archived_object_is_verified_by_its_size(azure, stage):
    destination = azure.destination(storage_class="Archive", verification="size-only")

    await publish(destination, NAME, stage(1000))

    assert azure.head(NAME)["x-ms-access-tier"] == "Archive"


@BOTH_SIZES
async def test_what_arrived_is_read_back(azure, azure_proxy, stage, size):
    staged = stage(size)
    azure_proxy.first(1, "corrupt")

    await publish(azure.destination(endpoint=azure_proxy.url), NAME, staged)

    assert azure.content(NAME) == staged.data


@pytest.mark.parametrize("fault", [503, "drop", "lose"])
async def test_a_temporary_fault_is_outlasted(azure, azure_proxy, stage, fault):
    staged = stage(2 * PART + 17)
    azure_proxy.first(3, fault)

    await publish(azure.destination(endpoint=azure_proxy.url), NAME, staged)

    assert azure.content(NAME) == staged.data


async def test_resuming_compares_what_is_there_byte_by_byte(azure, azure_proxy, stage):
    staged = stage(1000)
    await publish(azure.destination(), NAME, staged)

    await publish(azure.destination(endpoint=azure_proxy.url), NAME, staged, is_resumed=True)

    assert [request.method for request in azure_proxy.requests] == ["HEAD", "GET"]


async def test_a_wrong_key_is_refused_without_being_told(azure, stage):
    key = "bm90LXRoZS1rZXktbm90LXRoZS1rZXktbm90LXRoZS1rZXk="
    destination = azure.destination(options={"account_key": key})
    staged = stage(1000)

    with pytest.raises(errors.DestinationRefused) as refused:
        await destination.put(NAME, staged.path, **staged.arguments())

    assert refused.value.detail.startswith("The credentials may not do this (status 403")
    assert key not in repr(refused.value)


async def test_a_key_of_the_environment_is_found(azure, azure_proxy, stage, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azure.fields["options"]["account_key"])

    await publish(azure.destination(endpoint=azure_proxy.url, options={}), NAME, stage(10))

    assert azure.everything() == [NAME]


async def test_a_given_key_wins_over_a_signature_of_the_environment(azure, stage, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2020&sig=of-the-environment")

    await publish(azure.destination(), NAME, stage(10))

    assert azure.everything() == [NAME]
