"""The stores file: who may use which store, and everything in it that is not right."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from app import errors
from app.storage.destinations import open_destination
from app.storage.stores import MODULES, Stores, json_schema, schema_text, store_config

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "stores.schema.json"
EXAMPLE = """
stores:
  archive:
    url: s3://hospital-archive/deid
    organizations: [A, B]
    region: eu-central-1
    encryption: sse-kms
    kms_key_id: alias/deid
  readers:
    url: az://readers
    organizations: "*"
    account: hospitalreaders
    storage_class: Cool
    use: [destination, source]
  research:
    url: gs://research/in
    organizations: [B]
    use: [source]
  shelf:
    url: file:///srv/shelf
    organizations: [A]
"""
S3 = {"url": "s3://bucket/prefix", "organizations": "*"}
AZURE = {"url": "az://container", "organizations": "*", "account": "account"}
GCS = {"url": "gs://bucket", "organizations": "*"}
DISK = {"url": "file:///srv/shelf", "organizations": "*"}


@pytest.fixture
def stores(tmp_path):
    return Stores.from_file(write(tmp_path, EXAMPLE))


def write(tmp_path, text, mode=0o600):
    path = tmp_path / "stores.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def complaint(fields):
    with pytest.raises(errors.Misconfigured) as refused:
        store_config(fields)
    return str(refused.value)


def test_without_a_file_there_are_no_stores():
    assert Stores.from_file(None).names("A") == ()


def test_an_organization_sees_its_own_stores(stores):
    assert stores.names("A") == ("archive", "readers", "shelf")
    assert stores.names("B") == ("archive", "readers")
    assert stores.names("C") == ("readers",)


def test_destinations_and_sources_are_told_apart(stores):
    assert stores.source("B", "research").url == "gs://research/in"
    assert stores.source("A", "readers") == stores.destination("A", "readers")
    with pytest.raises(errors.DestinationNotFound):
        stores.destination("B", "research")
    with pytest.raises(errors.DestinationNotFound):
        stores.source("A", "archive")


def test_a_store_of_others_is_told_like_one_that_is_not_there(stores):
    texts = []
    for organization, name in (("C", "archive"), ("A", "nothing")):
        with pytest.raises(errors.DestinationNotFound) as refused:
            stores.destination(organization, name)
        texts.append(str(refused.value))

    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["archive", "readers", "shelf"])
def test_every_store_can_be_opened(stores, name):
    opened = open_destination(stores.destination("A", name))

    assert opened.url_of("a/b").endswith("/a/b")


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "stores: []", "stores: {}\nothers: {}", "stores:\n  a: [", "a: &a [*a]"),
        *("stores:\n  a: {}", "stores:\n  A: {url: 's3://bucket', organizations: '*'}"),
        "stores:\n  a: {url: 's3://bucket', organizations: '*'}\n"
        "  a: {url: 's3://other', organizations: '*'}",
        "stores:\n  a: {url: 's3://bucket', organizations: '*', url: 's3://other'}",
        "stores: !!python/object/apply:os.getcwd []",
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(tmp_path, text):
    with pytest.raises(errors.Misconfigured):
        Stores.from_file(write(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(errors.Misconfigured) as refused:
        Stores.from_file(tmp_path / "none.yaml")

    assert "none.yaml" not in str(refused.value)


def test_every_complaint_names_store_and_field_and_no_content(tmp_path):
    text = """
stores:
  archive: {url: "s3://AKIAKEY:hunter2@bucket", organizations: "*", encryption: hunter2}
  readers: {url: "az://container", organizations: [], options: {acount_key: hunter2}}
"""
    with pytest.raises(errors.Misconfigured) as refused:
        Stores.from_file(write(tmp_path, text))

    told = str(refused.value)
    assert "archive: url: " in told
    assert "archive: encryption: " in told
    assert "readers: options: unknown key acount_key" in told
    assert "hunter2" not in told
    assert "AKIAKEY" not in told


@pytest.mark.parametrize("base", [S3, AZURE, GCS, DISK])
def test_an_unknown_key_is_refused(base):
    assert "unknown key storage_clas" in complaint({**base, "storage_clas": "x"})


@pytest.mark.parametrize("base", [S3, AZURE, GCS])
def test_an_unknown_option_is_refused(base):
    assert "options: unknown key bogus" in complaint({**base, "options": {"bogus": "x"}})


def test_a_key_that_looks_like_a_secret_is_not_repeated():
    assert "hunter2" not in complaint({**S3, "AKIA-hunter2": "x"})


@pytest.mark.parametrize("key", ["encryption", "encryption_scope", "kms_key_id"])
def test_what_cannot_be_set_on_azure_is_refused_with_the_place_to_set_it(key):
    assert "default encryption scope" in complaint({**AZURE, key: "x"})


@pytest.mark.parametrize("key", ["encryption", "kms_key", "kms_key_name"])
def test_what_cannot_be_set_on_gcs_is_refused_with_the_place_to_set_it(key):
    assert "bucket's default KMS key" in complaint({**GCS, key: "x"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({**S3, "encryption": "sse-c"}, "encryption"),
        ({**S3, "kms_key_id": "alias/a"}, "kms_key_id needs"),
        ({**S3, "kms_key_id": "alias/a", "encryption": "sse-s3"}, "kms_key_id needs"),
        ({**S3, "bucket_key": True}, "bucket_key needs"),
        ({**S3, "profile": "a"}, "profile needs"),
        ({**S3, "storage_class": "cold-ish"}, "storage_class"),
        ({**S3, "storage_class": "GLACIER", "verification": "read-back"}, "read back"),
        ({**S3, "endpoint": "http://minio:9000"}, "allow_http"),
        ({**S3, "endpoint": "https://u:p@minio"}, "endpoint"),
        ({**S3, "part_bytes": 1000}, "part_bytes"),
        ({**S3, "timeout_s": 0}, "timeout_s"),
        ({**S3, "use": []}, "use"),
        ({**S3, "organizations": ["no spaces"]}, "organizations"),
        ({**S3, "options": {"access_key_id": "a"}}, "together"),
        ({**S3, "credentials": "magic"}, "credentials"),
        ({**AZURE, "storage_class": "Lukewarm"}, "storage_class"),
        ({**AZURE, "storage_class": "Archive"}, "read back"),
        ({**AZURE, "verification": "checksum"}, "sends no checksum"),
        ({**AZURE, "options": {"account_key": "a", "sas_key": "b"}}, "give one of"),
        ({**AZURE, "url": "abfss://c@account.dfs.core.windows.net"}, "account"),
        ({**GCS, "verification": "checksum"}, "sends no checksum"),
        ({**DISK, "use": ["source"]}, "DEID_SOURCE_ROOTS"),
        ({**DISK, "storage_class": "x"}, "unknown key"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, told):
    assert told in complaint(fields)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "s3://",
            "s3:///a",
            "s3://b/a//c",
            "s3://b/../c",
            "s3://b/a?x=1",
            "s3://b/a#x",
            "s3://b:1",
        ),
        *("s3://b/a b", "s3://u:p@b", "s3://[b", "az://c@account", "abfss://c@host.example"),
        *("abfss://c:p@account.dfs.core.windows.net", "file://srv", "file:///", "file:///a/../b"),
        *("file:///a/%2e%2e/b", "file:///a%00b", "https://bucket", "bucket", "S3://bucket"),
    ],
)
def test_a_url_that_is_not_plain_is_refused(url):
    assert "url" in complaint({"url": url, "organizations": "*"})


def test_an_account_may_stand_in_the_url():
    url = "abfss://images@account.dfs.core.windows.net/a@b"

    config = store_config({"url": url, "organizations": "*"})

    assert (config.account_name, config.bucket, config.prefix) == ("account", "images", "a@b")


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o640)
    options = {"access_key_id": "a", "secret_access_key": {"file": str(secret)}}

    config = store_config({**S3, "options": options})

    assert config.options.given() == {"access_key_id": "a", "secret_access_key": "hunter2"}


@pytest.mark.parametrize("mode", [0o644, 0o604])
def test_a_secret_file_that_everybody_can_read_is_refused(tmp_path, mode):
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(mode)

    told = complaint({**AZURE, "options": {"account_key": {"file": str(secret)}}})

    assert "every user can read" in told
    assert str(secret) not in told


def test_a_file_with_secrets_that_everybody_can_read_is_refused(tmp_path):
    text = "stores: {a: {url: 'az://c', organizations: '*', options: {account_key: hunter2}}}"

    with pytest.raises(errors.Misconfigured):
        Stores.from_file(write(tmp_path, text, 0o644))

    assert Stores.from_file(write(tmp_path, text, 0o640)).names("A") == ("a",)


def test_a_file_without_secrets_may_be_read_by_everybody(tmp_path):
    assert Stores.from_file(write(tmp_path, EXAMPLE, 0o644)).names("C") == ("readers",)


def test_no_secret_is_shown():
    options = {"access_key_id": "AKIAKEY", "secret_access_key": "hunter2"}
    config = store_config({**S3, "options": options})

    shown = f"{config!r} {config} {config.options!r} {config.model_dump()!r} {[config]}"

    assert "hunter2" not in shown
    assert "AKIAKEY" not in shown
    assert "hunter2" not in config.model_dump_json()


def test_a_package_that_credentials_need_is_named(monkeypatch):
    monkeypatch.setitem(MODULES, "google-auth", ("nobody.has.this", "google-auth"))

    assert "needs the package google-auth" in complaint({**GCS, "credentials": "google-auth"})


def test_the_published_schema_is_the_one_that_holds():
    assert SCHEMA.read_text() == schema_text()


def test_the_schema_takes_what_the_program_takes():
    import yaml  # noqa: PLC0415 - only here

    Draft202012Validator.check_schema(json_schema())
    validator = Draft202012Validator(json_schema())
    content = yaml.safe_load(EXAMPLE)

    assert validator.is_valid(content)
    content["stores"]["archive"]["bogus"] = 1
    assert not validator.is_valid(content)
    assert not validator.is_valid({"stores": {"A": S3}})
    assert json.loads(schema_text()) == json_schema()


@pytest.mark.parametrize("name", ["staging", "url"])
def test_a_store_cannot_be_called_what_means_something_else(tmp_path, name):
    text = f"stores:\n  {name}: {{url: 's3://bucket', organizations: '*'}}\n"

    with pytest.raises(errors.Misconfigured, match="stands for"):
        Stores.from_file(write(tmp_path, text))
