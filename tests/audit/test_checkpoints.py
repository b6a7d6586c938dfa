import datetime as dt
import json

import pytest

from app.audit.checkpoints import Checkpoint, read, seal, signed_by_nobody_known, written
from app.errors import InvalidRequest
from app.vault.signing import Signer
from tests.audit.events import WHEN
from tests.mapping_house import KeyPair, make_keys


@pytest.fixture
def signer(pair: KeyPair) -> Signer:
    return Signer(pair.keys)


@pytest.fixture
def sealed(signer: Signer) -> Checkpoint:
    return seal(signer, chain="NORTH", seq=7, row_hash=bytes(range(32)), sealed_at=WHEN)


def test_a_checkpoint_is_signed_by_the_gateways_key(sealed: Checkpoint, signer: Signer) -> None:
    assert sealed.is_signed_by(signer.public_keys())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("chain", "SOUTH"),
        ("seq", 8),
        ("hash", "00" * 32),
        ("sealed_at", "2026-01-02T03:04:05.000007Z"),
    ],
)
def test_a_changed_checkpoint_is_signed_by_nobody(
    sealed: Checkpoint, signer: Signer, member: str, value: object
) -> None:
    document = json.loads(written([sealed]))
    document["checkpoints"][0][member] = value

    found = read(json.dumps(document).encode())

    assert signed_by_nobody_known(found, signer.public_keys()) == 1


def test_another_gateways_key_is_not_trusted(sealed: Checkpoint, tmp_path) -> None:
    stranger = Signer(make_keys(tmp_path / "others").keys)

    assert not sealed.is_signed_by(stranger.public_keys())


def test_a_signature_of_another_kind_is_none_of_a_checkpoint(
    sealed: Checkpoint, signer: Signer
) -> None:
    text = '{"chain":"NORTH","hash":"' + bytes(range(32)).hex() + '","sealed_at":'
    text += '"2026-01-02T03:04:05.000006Z","seq":7}'
    other = signer.sign(text.encode())

    assert other != sealed.signature


def test_a_file_is_read_as_it_was_written(signer: Signer) -> None:
    east = dt.timezone(dt.timedelta(hours=5))
    made = [
        seal(signer, chain=chain, seq=3, row_hash=bytes(32), sealed_at=WHEN.astimezone(east))
        for chain in ("", "NORTH", "SOUTH")
    ]

    assert read(written(reversed(made))) == made
    assert signed_by_nobody_known(read(written(made)), signer.public_keys()) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"format":"deid-gateway/audit-checkpoints","version":2,"checkpoints":[]}',
        b'{"format":"deid-gateway/audit-checkpoints","version":1,"checkpoints":[{}]}',
        b'{"format":"deid-gateway/audit-checkpoints","version":1,"checkpoints":["x"]}',
    ],
)
def test_what_is_no_file_of_checkpoints_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(text)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("seq", 0),
        ("seq", True),
        ("seq", "7"),
        ("hash", "00"),
        ("signature", "AA"),
        ("signature", "*" * 86),
        ("signature", 7),
        ("sealed_at", "yesterday"),
        ("chain", None),
    ],
)
def test_a_malformed_checkpoint_is_refused(sealed: Checkpoint, member: str, value: object) -> None:
    document = json.loads(written([sealed]))
    document["checkpoints"][0][member] = value

    with pytest.raises(InvalidRequest):
        read(json.dumps(document).encode())
