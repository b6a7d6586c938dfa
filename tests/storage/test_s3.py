"""S3: settings of the upload, verification, credentials, and faults on the way."""

import asyncio
import base64
import hashlib
import time

import pytest

from app import errors
from app.storage.clients import Patience
from app.storage.destinations import open_destination
from app.storage.store_source import StoreSource
from app.storage.stores import store_config
from tests.storage.places import PART, QUICK, publish

NAME = "b1/CS-ABC/2.25.1/2.25.2.dcm"
BOTH_SIZES = pytest.mark.parametrize("size", [1000, 2 * PART + 17])
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"


async def refusal(kind, destination, staged):
    with pytest.raises(kind) as refused:
        await destination.put(NAME, staged.path, **staged.arguments())
    told = f"{refused.value!r} {refused.value} {refused.value.__cause__}"
    for secret in ("http", "127.0.0.1", "not-to-be-told", "secret-of-the-server", NAME):
        assert secret not in told
    return refused.value.detail


@BOTH_SIZES
async def test_encryption_and_storage_class_are_those_that_were_set(s3, stage, size):
    fields = {"encryption": "sse-kms", "kms_key_id": KEY, "bucket_key": True}
    destination = s3.destination(**fields, storage_class="STANDARD_IA")

    await publish(destination, NAME, stage(size))

    found = s3.head(NAME)
    assert found["ServerSideEncryption"] == "aws:kms"
    assert found["SSEKMSKeyId"] == KEY
    assert found["StorageClass"] == "STANDARD_IA"


async def test_the_bucket_s_own_keys_can_encrypt(s3, stage):
    destination = s3.destination(encryption="sse-s3")

    await publish(destination, NAME, stage(1000))

    assert s3.head(NAME)["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize(("size", "parts"), [(1000, 1), (2 * PART + 17, 3)])
async def test_every_part_comes_with_its_sha256(s3, stage, proxy, size, parts):
    staged = stage(size)

    await publish(s3.destination(endpoint=proxy.url), NAME, staged)

    sums = {request.headers["x-amz-checksum-sha256"] for request in proxy.seen("PUT")}
    pieces = [staged.data[offset : offset + PART] for offset in range(0, size, PART)]
    assert len(pieces) == parts
    assert sums == {base64.b64encode(hashlib.sha256(piece).digest()).decode() for piece in pieces}


async def test_resuming_sends_nothing_that_is_there(s3, stage, proxy):
    staged = stage(2 * PART + 17)
    await publish(s3.destination(), NAME, staged)

    await publish(s3.destination(endpoint=proxy.url), NAME, staged, is_resumed=True)

    assert [request.method for request in proxy.requests] == ["HEAD"]


async def test_resuming_sends_again_what_has_no_record_of_its_hash(s3, stage, proxy):
    staged = stage(1000)
    s3.tamper(NAME, b"x" * 1000)

    await publish(s3.destination(endpoint=proxy.url), NAME, staged, is_resumed=True)

    assert s3.content(NAME) == staged.data


async def test_resuming_goes_on_where_the_store_says_403_for_an_absent_object(s3, stage, proxy):
    staged = stage(1000)
    proxy.first(1, 403, "HEAD")

    await publish(s3.destination(endpoint=proxy.url), NAME, staged, is_resumed=True)

    assert s3.content(NAME) == staged.data


@BOTH_SIZES
@pytest.mark.parametrize("fault", [500, 503, 429, "drop", "stall", "lose"])
async def test_a_temporary_fault_is_outlasted(s3, stage, proxy, fault, size):
    staged = stage(size)
    proxy.first(3, fault)
    destination = s3.destination(endpoint=proxy.url, timeout_s=0.3)

    await publish(destination, NAME, staged)

    assert s3.content(NAME) == staged.data
    assert s3.everything() == [NAME]


@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_a_temporary_fault_at_either_end_of_an_upload_is_outlasted(s3, stage, proxy, method):
    staged = stage(2 * PART + 17)
    proxy.first(3, 503, method)

    await publish(s3.destination(endpoint=proxy.url), NAME, staged)

    assert s3.content(NAME) == staged.data
    assert s3.everything() == [NAME]


@pytest.mark.parametrize("fault", [503, "drop"])
async def test_a_fault_that_stays_is_reported_as_temporary(s3, stage, proxy, fault):
    proxy.first(1000, fault)

    detail = await refusal(
        errors.StorageUnavailable, s3.destination(endpoint=proxy.url), stage(1000)
    )

    assert detail in {"The store answers with status 503", "The store does not answer"}
    assert s3.everything() == []


async def test_a_fault_that_stays_leaves_no_parts(s3, stage, proxy):
    proxy.spoil = lambda request: 503 if "partNumber=2" in request.target else None

    await refusal(
        errors.StorageUnavailable, s3.destination(endpoint=proxy.url), stage(2 * PART + 17)
    )

    assert s3.everything() == []


async def test_an_address_where_nobody_listens_is_a_temporary_fault(s3, stage):
    destination = s3.destination(endpoint="http://127.0.0.1:1")

    detail = await refusal(errors.StorageUnavailable, destination, stage(1000))

    assert detail == "The store does not answer"


async def test_what_may_not_be_done_is_refused_at_once(s3, stage, proxy):
    proxy.first(1000, 403)

    detail = await refusal(
        errors.DestinationRefused, s3.destination(endpoint=proxy.url), stage(1000)
    )

    assert detail == "The credentials may not do this (status 403, AccessDenied)"
    assert len(proxy.requests) == 1


async def test_a_request_that_the_store_does_not_understand_is_refused_at_once(s3, stage, proxy):
    proxy.first(1000, 400)

    detail = await refusal(
        errors.DestinationRefused, s3.destination(endpoint=proxy.url), stage(1000)
    )

    assert detail == "The store refuses the request (status 400, Broken)"
    assert len(proxy.requests) == 1


@BOTH_SIZES
async def test_reading_back_notices_a_byte_that_changed_on_the_way(s3, stage, proxy, size):
    staged = stage(size)
    proxy.first(1, "corrupt")
    destination = s3.destination(endpoint=proxy.url, verification="read-back")

    await publish(destination, NAME, staged)

    assert s3.content(NAME) == staged.data
    assert proxy.seen("GET")


async def test_an_object_that_never_arrives_as_it_was_sent_is_taken_away(s3, stage, proxy):
    proxy.first(1000, "corrupt")
    destination = s3.destination(endpoint=proxy.url, verification="read-back")

    detail = await refusal(errors.StorageUnavailable, destination, stage(1000))

    assert detail == "An object did not arrive as it was sent"
    assert s3.everything() == []


async def test_a_size_that_is_not_right_is_noticed(s3, stage, proxy):
    staged = stage(1000)
    arrived = []

    def shorten(request):
        if request.method == "HEAD" and not arrived:
            arrived.append(request)
            s3.tamper(NAME, b"short")

    proxy.spoil = shorten

    await publish(s3.destination(endpoint=proxy.url), NAME, staged)

    assert s3.content(NAME) == staged.data


async def test_a_cancelled_upload_to_a_store_that_hangs_ends_soon(s3, stage, proxy):
    staged = stage(3 * PART)
    proxy.spoil = lambda request: "stall" if "partNumber" in request.target else None
    patience = Patience(retries=0, attempts=1, abort_s=0.2)
    destination = s3.destination(endpoint=proxy.url, patience=patience)
    sending = asyncio.create_task(destination.put(NAME, staged.path, **staged.arguments()))
    await asyncio.to_thread(proxy.stalled.wait, 30)
    began = time.monotonic()

    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending
    assert time.monotonic() - began < 5


async def test_given_keys_are_not_joined_by_a_token_of_the_environment(
    s3, stage, proxy, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-environment")

    await publish(s3.destination(endpoint=proxy.url), NAME, stage(10))

    headers = proxy.seen("PUT")[0].headers
    assert "Credential=key/" in headers["authorization"]
    assert "x-amz-security-token" not in headers


async def test_keys_of_the_environment_are_found(s3, stage, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")

    await publish(s3.destination(endpoint=proxy.url, options={}), NAME, stage(10))

    assert "Credential=of-the-environment/" in proxy.seen("PUT")[0].headers["authorization"]


async def test_keys_of_a_profile_file_are_found(s3, stage, proxy, monkeypatch, tmp_path):
    file = tmp_path / "credentials"
    file.write_text("[archive]\naws_access_key_id = of-profile\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    fields = {"credentials": "profile", "profile": "archive", "options": {}}

    await publish(s3.destination(endpoint=proxy.url, **fields), NAME, stage(10))

    assert "Credential=of-profile/" in proxy.seen("PUT")[0].headers["authorization"]


async def test_a_profile_that_is_not_there_is_refused(s3, stage, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    destination = s3.destination(credentials="profile", profile="nobody", options={})

    detail = await refusal(errors.DestinationRefused, destination, stage(10))

    assert detail == "The store does not accept the credentials, or none were found"


async def test_no_signature_is_made_where_none_is_wanted(s3, stage, proxy):
    destination = s3.destination(endpoint=proxy.url, credentials="anonymous", options={})

    await refusal(errors.DestinationRefused, destination, stage(10))  # the bucket is not public

    assert "authorization" not in proxy.seen("PUT")[0].headers


async def test_missing_credentials_are_told_from_a_store_that_does_not_answer(s3, stage):
    # Nobody answers where a machine of the provider's would be asked for its identity.
    destination = s3.destination(options={"metadata_endpoint": "http://127.0.0.1:1"})

    detail = await refusal(errors.DestinationRefused, destination, stage(10))

    assert detail == "No credentials for the store were found"


class TestAnAddressFromTheEnvironment:
    @pytest.fixture
    def destination(self, s3, monkeypatch):
        for name, value in {
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "not-to-be-told",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        return lambda: open_destination(s3.fields["url"], QUICK)

    async def test_plain_http_that_nobody_allowed_is_refused_at_once(self, destination, stage):
        detail = await refusal(errors.DestinationRefused, destination(), stage(10))

        assert detail == (
            "The store's address cannot be used: it is none, or plain HTTP, which must be allowed"
        )

    async def test_the_environment_can_allow_plain_http(self, destination, s3, stage, monkeypatch):
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        staged = stage(1000)

        await publish(destination(), NAME, staged)

        assert s3.content(NAME) == staged.data

    async def test_a_store_that_says_no_is_not_overruled(self, s3, stage, monkeypatch):
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        fields = {**s3.fields, "allow_http": False}
        del fields["endpoint"]
        config = store_config({**fields, "organizations": "*"})

        await refusal(errors.DestinationRefused, open_destination(config, QUICK), stage(10))


async def test_few_large_objects_go_at_once(s3, stage, proxy):
    destination, under_way, most = s3.destination(endpoint=proxy.url), set(), []

    def watch(request):
        if request.method == "POST" and "uploads" in request.target:
            under_way.add(request.target.partition("?")[0])
        elif request.method == "POST":
            under_way.discard(request.target.partition("?")[0])
        most.append(len(under_way))

    proxy.spoil = watch
    staged = stage(PART + 1)

    await asyncio.gather(
        *(destination.put(f"b/{n}", staged.path, **staged.arguments()) for n in range(6))
    )

    assert max(most) == 2


async def test_an_address_with_the_bucket_in_the_host_name_is_spoken_to(s3, stage, proxy):
    # The name resolves to the loopback interface everywhere.
    endpoint = proxy.url.replace("127.0.0.1", "localhost")
    destination = s3.destination(endpoint=f"{endpoint}/{s3.bucket}", addressing="virtual")

    await publish(destination, NAME, stage(10))

    assert s3.everything() == [NAME]


class TestSource:
    """Objects of a bucket as a source of studies."""

    @pytest.fixture
    def source(self, s3, proxy, tmp_path):
        config = s3.config(endpoint=proxy.url, use=["source"], timeout_s=0.3)
        return StoreSource(config, "in", spool=tmp_path, memory_bytes=100_000, patience=QUICK)

    @pytest.mark.parametrize("fault", [503, "stall", "cut"])
    @pytest.mark.parametrize("size", [1000, 1_000_000])
    def test_a_temporary_fault_is_outlasted(self, s3, source, proxy, stage, fault, size):
        data = stage(size).data
        s3.tamper("in/a", data)
        proxy.first(2, fault, "GET")

        with source.lend("a") as lent:
            assert lent.read(0, lent.size) == data

    def test_a_fault_that_stays_is_reported_as_temporary(self, s3, source, proxy):
        s3.tamper("in/Doe^Jane", b"data")
        proxy.first(1000, 503, "GET")

        with pytest.raises(errors.StorageUnavailable) as refused, source.lend("Doe^Jane"):
            pass

        assert "Doe" not in str(refused.value)

    def test_an_object_that_may_not_be_read_is_one_unreadable_file(self, s3, source, proxy):
        s3.tamper("in/a", b"data")
        proxy.first(1000, 403, "GET")

        with pytest.raises(errors.UnreadableFile), source.lend("a"):
            pass

    def test_a_listing_that_breaks_off_is_reported_as_temporary(self, source, proxy):
        proxy.first(1000, 503, "GET")

        with pytest.raises(errors.StorageUnavailable):
            list(source.list())

    def test_a_listing_that_is_refused_is_no_source(self, source, proxy):
        proxy.first(1000, 403, "GET")

        with pytest.raises(errors.SourceNotAllowed):
            list(source.list())

    def test_marks_of_folders_do_not_disturb_the_order(self, s3, source):
        keys = ["a (copy)/1", "a-b", "a/", "a/1", "b/", "b/1", "c", "c-d"]
        for key in keys:
            s3.tamper(f"in/{key}", b"" if key.endswith("/") else b"1")

        found = {found.name: found.error for found in source.list()}

        names = list(found)
        assert [name.rstrip("/") for name in names] == [key.rstrip("/") for key in keys]
        assert {name for name in names if found[name]} == {"a/", "b"}
        for number, name in enumerate(names):
            assert [found.name for found in source.list(name)] == names[number + 1 :]

    @pytest.mark.parametrize("key", ["in/a//b", "in/a/../b", "in/./b"])
    def test_keys_that_the_client_cannot_fetch_are_told_instead_of_left_out(self, s3, source, key):
        s3.client.put_object(Bucket=s3.bucket, Key=f"archive/deid/{key}", Body=b"1")

        with pytest.raises(errors.SourceNotAllowed) as refused:
            list(source.list())

        assert key not in str(refused.value)
