"""A real OpenID provider on the loopback interface: `oidc-provider` in a process of its own."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_suffix(".mjs")
SECRET = "a secret for tests"


@dataclass
class OidcServer:
    """The running provider."""

    process: subprocess.Popen[str]
    issuer: str
    impostor: str
    audience: str
    other: str

    def token(
        self,
        client: str = "viewer",
        *,
        scope: str = "deid:anonymize deid:reidentify",
        resource: str | None = None,
        issuer: str | None = None,
    ) -> str:
        """Get a token as a client of the provider does."""
        answer = httpx.post(
            f"{issuer or self.issuer}/token",
            data={
                "grant_type": "client_credentials",
                "scope": scope,
                "resource": resource or self.audience,
            },
            auth=(client, SECRET),
        )
        return str(answer.json()["access_token"])

    def published(self) -> list[dict[str, str]]:
        """The keys that anybody can read."""
        return list(httpx.get(f"{self.issuer}/jwks").json()["keys"])

    def rotate(self) -> None:
        """Sign with another key from now on."""
        self._tell("rotate")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answer nobody for a while."""
        self._tell("down")
        try:
            yield
        finally:
            self._tell("up")

    def _tell(self, command: str) -> None:
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert json.loads(self.process.stdout.readline()) == {"done": command}


@contextmanager
def running() -> Iterator[OidcServer]:
    """Start the provider; its packages are installed when they are not there yet."""
    from tools import node_packages  # noqa: PLC0415 - only tests of tokens need Node

    node, packages = node_packages.installed(ROOT / "tools" / "oidc")
    process = subprocess.Popen(
        [*node, str(SCRIPT), str(packages)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield OidcServer(process, **json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)
