"""One place of each kind to publish to, with a look at it that does not use our own code."""

import hashlib
from dataclasses import dataclass, field
from uuid import uuid4

import boto3
from botocore.config import Config

from app.storage.clients import Patience
from app.storage.destinations import open_destination
from app.storage.disk import DiskDestination
from app.storage.stores import store_config
from tests.storage import servers

PREFIX = "archive/deid"
QUICK = Patience(retries=1, attempts=3, first_wait_s=0.02, longest_wait_s=0.05, abort_s=5)
PART = 5 << 20


@dataclass
class Staged:
    """A file that waits to be published."""

    path: object
    data: bytes
    attributes: dict = field(default_factory=lambda: {"batch_id": "B-1", "priority": "STAT"})

    def arguments(self, *, is_resumed=False):
        return {
            "size": len(self.data),
            "sha256": hashlib.sha256(self.data).digest(),
            "attributes": self.attributes,
            "content_type": "application/dicom",
            "is_resumed": is_resumed,
        }


async def publish(destination, name, staged, *, is_resumed=False):
    """Put and flush one file."""
    await destination.put(name, staged.path, **staged.arguments(is_resumed=is_resumed))
    await destination.flush([name])


async def names_of(destination, prefix=""):
    return {name: size async for name, size in destination.names(prefix)}


class DiskPlace:
    """A directory."""

    def __init__(self, root):
        self.root = root

    def destination(self):
        return DiskDestination(self.root)

    def content(self, name):
        return (self.root / name).read_bytes()

    def everything(self):
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()
        )

    def tamper(self, name, data):
        path = self.root / name
        path.unlink()
        path.write_bytes(data)


class ObjectPlace:
    """What buckets of all kinds have in common."""

    def config(self, **fields):
        return store_config({**self.fields, "organizations": "*", **fields})

    def destination(self, *, endpoint=None, patience=QUICK, **fields):
        if endpoint is not None:
            fields["endpoint"] = self.endpoint(endpoint)
        return open_destination(self.config(part_bytes=PART, **fields), patience)

    def endpoint(self, url):
        return url


class S3Place(ObjectPlace):
    """A new bucket of moto's server."""

    def __init__(self, url):
        self.url = url
        self.bucket = f"bucket-{uuid4().hex}"
        self.fields = {
            "url": f"s3://{self.bucket}/{PREFIX}",
            "region": "us-east-1",
            "endpoint": url,
            "allow_http": True,
            "options": {"access_key_id": "key", "secret_access_key": "not-to-be-told"},
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.client.create_bucket(Bucket=self.bucket)

    def head(self, name):
        return self.client.head_object(Bucket=self.bucket, Key=f"{PREFIX}/{name}")

    def content(self, name):
        found = self.client.get_object(Bucket=self.bucket, Key=f"{PREFIX}/{name}")
        return found["Body"].read()

    def metadata(self, name):
        found = self.head(name)
        return {**found["Metadata"], "content-type": found["ContentType"]}

    def tamper(self, name, data):
        key = f"{PREFIX}/{name}" if name else ""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def everything(self):
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        unfinished = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [found["Key"].removeprefix(f"{PREFIX}/") for found in [*listed, *unfinished]]


class AzurePlace(ObjectPlace):
    """A new container of azurite."""

    def __init__(self, url):
        self.url = url
        self.container = f"container-{uuid4().hex}"
        self.fields = {
            "url": f"az://{self.container}/{PREFIX}",
            "account": servers.AZURE_ACCOUNT,
            "endpoint": self.endpoint(url),
            "allow_http": True,
            "options": {"account_key": servers.AZURE_KEY},
        }
        made = self._call("PUT", "", {"restype": "container"})
        assert made.status_code == 201

    def endpoint(self, url):
        return f"{url}/{servers.AZURE_ACCOUNT}"

    def _call(self, method, name, query=None):
        path = f"/{self.container}" + (f"/{PREFIX}/{name}" if name else "")
        return servers.azure_call(self.url, method, path, query)

    def head(self, name):
        return self._call("HEAD", name).headers

    def content(self, name):
        return self._call("GET", name).content

    def metadata(self, name):
        found = self.head(name)
        mark = "x-ms-meta-"
        kept = {key.removeprefix(mark): found[key] for key in found if key.startswith(mark)}
        return {**kept, "content-type": found["content-type"]}

    def everything(self):
        """Objects alone: Azure keeps parts of a broken upload for a week, out of sight."""
        text = self._call("GET", "", {"restype": "container", "comp": "list"}).text
        names = [piece.partition("</Name>")[0] for piece in text.split("<Name>")[1:]]
        return [name.removeprefix(f"{PREFIX}/") for name in names]


class GcsPlace(ObjectPlace):
    """A new bucket of the server that speaks Google's XML interface."""

    def __init__(self, server):
        self.server = server
        self.url = server.url
        self.bucket = f"bucket-{uuid4().hex}"
        self.objects = server.buckets[self.bucket] = {}
        self.fields = {
            "url": f"gs://{self.bucket}/{PREFIX}",
            "endpoint": server.url,
            "allow_http": True,
            "options": {"bearer_token": server.token},
        }

    def content(self, name):
        return self.objects[f"{PREFIX}/{name}"].data

    def metadata(self, name):
        found, mark = self.objects[f"{PREFIX}/{name}"].headers, "x-goog-meta-"
        kept = {key.removeprefix(mark): found[key] for key in found if key.startswith(mark)}
        return {**kept, "content-type": found["Content-Type"]}

    def everything(self):
        unfinished = [upload.key for upload in self.server.uploads.values()]
        return [key.removeprefix(f"{PREFIX}/") for key in [*self.objects, *unfinished]]
