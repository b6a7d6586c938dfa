"""Servers and places for the tests of destinations and object-store sources."""

import os
from hashlib import sha256
from itertools import count

import pytest

from tests.storage.fault_proxy import FaultProxy
from tests.storage.gcs_server import GcsServer
from tests.storage.places import AzurePlace, DiskPlace, GcsPlace, S3Place, Staged
from tests.storage.servers import azure_server, s3_server


@pytest.fixture(scope="session")
def s3_url():
    """The address of moto's S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def azure_url():
    """The address of azurite."""
    with azure_server() as url:
        yield url


@pytest.fixture(scope="session")
def gcs_server():
    """The server that speaks Google's XML interface."""
    with GcsServer() as server:
        yield server


@pytest.fixture
def s3(s3_url):
    """A bucket."""
    return S3Place(s3_url)


@pytest.fixture
def azure(azure_url):
    """A container."""
    return AzurePlace(azure_url)


@pytest.fixture
def gcs(gcs_server):
    """A bucket."""
    return GcsPlace(gcs_server)


@pytest.fixture
def disk(tmp_path):
    """A directory that does not exist yet."""
    return DiskPlace(tmp_path / "published")


@pytest.fixture(params=["s3", "azure", "gcs"])
def store(request):
    """A place in an object store of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["disk", "s3", "azure", "gcs"])
def place(request):
    """A place of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(s3):
    """A proxy before the S3 server."""
    with FaultProxy(s3.url) as made:
        yield made


@pytest.fixture
def stage(tmp_path):
    """Write a staged file: of a size, or with some content."""
    numbers = count()

    def write(content):
        data = _bytes(content) if isinstance(content, int) else content
        path = tmp_path / "work" / f"{next(numbers)}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        return Staged(path, data)

    return write


def _bytes(size):
    seed = sha256(os.fsencode(str(size))).digest()
    return (seed * (size // len(seed) + 1))[:size]
