"""Real servers on the loopback interface for the tests of destinations and sources.

S3 is moto's server, Azure is azurite; both are processes of their own that end with their
standard input or with the test process. Google's protocol is in ``gcs_server``.
"""

import base64
import hashlib
import hmac
import re
import subprocess
import sys
from contextlib import contextmanager
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx

from app.telemetry import utc_now

ROOT = Path(__file__).resolve().parents[2]
AZURE_ACCOUNT = "devstoreaccount1"
# The published key of the emulator: every installation has the same.
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
MOTO = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
"""
# Ends azurite when the test process is gone, however that came.
WATCHED = """
import subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=child.wait, daemon=True).start()
sys.stdin.read()
child.kill()
child.wait()
"""


@contextmanager
def running(command):
    """Start a server; yield the first URL that it prints."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, "")
        urls = (found[0] for line in lines if (found := re.search(r"http://[\d.]+:\d+", line)))
        # The address that is asked for comes first, with port 0.
        url = next((url for url in urls if not url.endswith(":0")), None)
        if url is None:
            raise RuntimeError(f"{command[0]} did not start")
        yield url
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)


def s3_server():
    """Start moto's server."""
    keys = ["AWS_ACCESS_KEY_ID=server", "AWS_SECRET_ACCESS_KEY=server"]
    return running(["env", *keys, sys.executable, "-c", MOTO])


def azure_server():
    """Start azurite; its packages are installed when they are not there yet."""
    from tools import node_packages  # noqa: PLC0415 - only tests of Azure need Node

    command = node_packages.provide(ROOT / "tools" / "azurite", "azurite-blob")
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--silent", "--disableTelemetry"]
    options += ["--inMemoryPersistence", "--skipApiVersionCheck"]
    return running([sys.executable, "-c", WATCHED, *command, *options])


def azure_call(url, method, path, query=None, headers=None):
    """Speak to the emulator without the library under test.

    Source: Azure Storage REST API, "Authorize with Shared Key".
    """
    query = query or {}
    now = format_datetime(utc_now(), usegmt=True)
    sent = {"x-ms-date": now, "x-ms-version": "2023-11-03", **(headers or {})}
    names = "".join(f"{name}:{value}\n" for name, value in sorted(sent.items()))
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}{quote(path)}"
    resource += "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
    text = method + "\n" * 12 + names + resource
    digest = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    sent["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    address = f"{url}/{AZURE_ACCOUNT}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
    return httpx.request(method, address, headers=sent)
