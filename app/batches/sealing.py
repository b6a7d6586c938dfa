"""Requests and lists of files as they stand in the database: JSON, sealed for the workers."""

import json
from collections.abc import Sequence
from uuid import UUID

from app.batches.records import Request, SourceFile
from app.batches.states import ItemState
from app.vault.workbox import WorkBox


class BatchBox:
    """Seals what names patients, each piece bound to its batch and place.

    Args:
        box: of this gateway's keys.
    """

    def __init__(self, box: WorkBox) -> None:
        self._box = box

    def seal_request(self, organization: str, batch_id: UUID, request: Request) -> bytes:
        """Seal where files come from and go to."""
        return self._box.seal(organization, f"{batch_id} request", _request_bytes(request))

    def open_request(self, organization: str, batch_id: UUID, sealed: bytes) -> Request:
        """Open a request.

        Raises:
            KeyUnavailable: it was not sealed with this key for this batch.
        """
        fields = json.loads(self._box.open(organization, f"{batch_id} request", sealed))
        return Request(
            source=fields["source"],
            destination=fields["destination"],
            callback_url=fields["callback_url"],
            fhir=fields["fhir"],
        )

    def seal_files(
        self, organization: str, batch_id: UUID, number: int, files: Sequence[SourceFile]
    ) -> bytes:
        """Seal the files of a chunk."""
        rows = [[file.seq, file.name, file.size, file.code, file.state] for file in files]
        return self._box.seal(organization, f"{batch_id} chunk {number}", _json(rows))

    def open_files(
        self, organization: str, batch_id: UUID, number: int, sealed: bytes
    ) -> tuple[SourceFile, ...]:
        """Open the files of a chunk.

        Raises:
            KeyUnavailable: they were not sealed with this key for this chunk.
        """
        rows = json.loads(self._box.open(organization, f"{batch_id} chunk {number}", sealed))
        return tuple(
            SourceFile(seq, name, size, code, ItemState(state))
            for seq, name, size, code, state in rows
        )

    def seal_cursor(self, organization: str, batch_id: UUID, name: str) -> bytes:
        """Seal the name of the file that was listed last."""
        return self._box.seal(organization, f"{batch_id} cursor", _json(name))

    def open_cursor(self, organization: str, batch_id: UUID, sealed: bytes | None) -> str:
        """Open the name of the file that was listed last; empty where none was."""
        if sealed is None:
            return ""
        name: str = json.loads(self._box.open(organization, f"{batch_id} cursor", sealed))
        return name

    def idempotency_hash(self, organization: str, key: str) -> bytes:
        """Hash what the client called its request."""
        return self._box.hash(organization, "idempotency", key.encode())

    def request_hash(self, organization: str, request: Request, rest: Sequence[str]) -> bytes:
        """Hash all that a request asks for, to tell a repeated one from another."""
        return self._box.hash(organization, "request", _request_bytes(request) + _json(list(rest)))


def _request_bytes(request: Request) -> bytes:
    return _json(
        {
            "source": dict(request.source),
            "destination": dict(request.destination),
            "callback_url": request.callback_url,
            "fhir": request.fhir,
        }
    )


def _json(value: object) -> bytes:
    """Write JSON in ASCII: names that are no UTF-8 keep their surrogate escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
