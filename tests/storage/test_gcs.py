"""Google Cloud Storage, by the real client against a server that speaks its XML interface."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app import errors
from tests.storage.fault_proxy import FaultProxy
from tests.storage.places import PART, PREFIX, names_of, publish

NAME = "b1/CS-ABC/2.25.1/2.25.2.dcm"
BOTH_SIZES = pytest.mark.parametrize("size", [1000, 2 * PART + 17])


@pytest.fixture
def gcs_proxy(gcs):
    with FaultProxy(gcs.url) as made:
        yield made


@BOTH_SIZES
async def test_the_storage_class_is_the_one_that_was_set(gcs, stage, size):
    await publish(gcs.destination(storage_class="NEARLINE"), NAME, stage(size))

    headers = gcs.objects[f"{PREFIX}/{NAME}"].headers
    assert headers["x-goog-storage-class"] == "NEARLINE"


async def test_a_storage_class_that_is_not_there_is_refused(gcs, stage):
    destination = gcs.destination(storage_class="FROZEN")
    staged = stage(10)

    with pytest.raises(errors.DestinationRefused) as refused:
        await destination.put(NAME, staged.path, **staged.arguments())

    assert refused.value.detail.endswith("(status 400, InvalidStorageClass)")


@BOTH_SIZES
async def test_what_arrived_is_read_back(gcs, gcs_proxy, stage, size):
    staged = stage(size)
    gcs_proxy.first(1, "corrupt")

    await publish(gcs.destination(endpoint=gcs_proxy.url), NAME, staged)

    assert gcs.content(NAME) == staged.data


@pytest.mark.parametrize("fault", [503, "drop", "stall", "lose"])
async def test_a_temporary_fault_is_outlasted(gcs, gcs_proxy, stage, fault):
    staged = stage(2 * PART + 17)
    gcs_proxy.first(3, fault)

    await publish(gcs.destination(endpoint=gcs_proxy.url, timeout_s=0.3), NAME, staged)

    assert gcs.content(NAME) == staged.data
    assert gcs.everything() == [NAME]


async def test_a_fault_that_stays_leaves_no_parts(gcs, gcs_proxy, stage):
    gcs_proxy.spoil = lambda request: 503 if "partNumber=2" in request.target else None
    destination = gcs.destination(endpoint=gcs_proxy.url)
    staged = stage(2 * PART + 17)

    with pytest.raises(errors.StorageUnavailable):
        await destination.put(NAME, staged.path, **staged.arguments())

    assert gcs.everything() == []


async def test_a_wrong_token_is_refused_without_being_told(gcs, stage):
    destination = gcs.destination(options={"bearer_token": "wrong-token"})
    staged = stage(10)

    with pytest.raises(errors.DestinationRefused) as refused:
        await destination.put(NAME, staged.path, **staged.arguments())

    assert "401" in refused.value.detail
    assert "wrong-token" not in repr(refused.value)


@pytest.fixture
def account_file(gcs_server, tmp_path):
    """The key file of a service account that the server knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    account = {
        "type": "service_account",
        "client_email": "gateway@project.example",
        "private_key": key.private_bytes(*form).decode(),
        "private_key_id": "1",
    }
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    gcs_server.account_key = key.public_key()
    yield file
    gcs_server.account_key = None


async def test_a_service_account_signs_for_itself(gcs, stage, account_file):
    destination = gcs.destination(options={"service_account": str(account_file)})

    await publish(destination, NAME, stage(10))

    assert gcs.everything() == [NAME]


async def test_application_default_credentials_of_the_environment_are_found(
    gcs, stage, account_file, monkeypatch
):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))

    await publish(gcs.destination(options={}), NAME, stage(10))

    assert gcs.everything() == [NAME]


def test_a_service_account_file_that_is_not_there_is_a_wrong_configuration(gcs, tmp_path):
    with pytest.raises(errors.Misconfigured) as refused:
        gcs.destination(options={"service_account": str(tmp_path / "secret-place.json")})

    assert "secret-place" not in str(refused.value)


async def test_a_listing_of_many_pages_is_whole(gcs, stage):
    destination, staged = gcs.destination(), stage(10)
    for number in range(11):
        await destination.put(f"b/{number:02}.dcm", staged.path, **staged.arguments())

    assert await names_of(destination, "b") == {f"b/{n:02}.dcm": 10 for n in range(11)}
