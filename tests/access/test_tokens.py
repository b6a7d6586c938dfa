"""What makes a token valid, decided without any provider."""

import json
import warnings
from base64 import urlsafe_b64encode

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from app.access.key_sets import MAX_KEYS, KeySet, read_key_set
from app.access.tokens import (
    ASYMMETRIC,
    Expected,
    Fault,
    Head,
    TokenRefused,
    check_claims,
    read_head,
    subject_of,
    texts_at,
    verified,
)
from app.settings.oidc import ASYMMETRIC_ALGORITHMS

NOW = 1_800_000_000.0
EXPECTED = Expected("https://idp.test", frozenset({"gateway", "archive"}), leeway_s=30)
CLAIMS = {"iss": "https://idp.test", "aud": "gateway", "exp": NOW + 60, "sub": "f3c1"}
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})


def signed(key: Key, algorithm: str, claims: object = None, **members: object) -> str:
    head = {"alg": algorithm, **members}
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library advises against names that providers use
        return jws.serialize_compact(head, json.dumps(claims), key, [algorithm], registry)


def published(*keys: Key, **members: object) -> KeySet:
    return read_key_set({"keys": [key.as_dict(private=False) | members for key in keys]})


def fault_of(call, *arguments: object) -> Fault:
    with pytest.raises(TokenRefused) as refused:
        call(*arguments)
    return refused.value.fault


def test_settings_and_tokens_know_the_same_algorithms() -> None:
    assert ASYMMETRIC_ALGORITHMS == ASYMMETRIC


SIGNERS = {
    "RS256": RSA,
    "PS512": RSA,
    "ES256": ECKey.generate_key("P-256"),
    "ES384": ECKey.generate_key("P-384"),
    "ES512": ECKey.generate_key("P-521"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
}


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_every_asymmetric_signature_is_checked(algorithm: str) -> None:
    key = SIGNERS[algorithm]
    token = signed(key, algorithm, {"sub": "x"}, unknown="ignored")
    head = read_head(token, ASYMMETRIC)
    keys = published(key).fitting(head.algorithm, head.key_id)

    assert verified(token, head, keys) == {"sub": "x"}
    assert fault_of(verified, token[:-6] + "AAAAAA", head, keys) is Fault.SIGNATURE


@pytest.mark.parametrize("name", ["none", "None", "HS256", "HS512", "RS1", "", None, ["RS256"], 1])
def test_an_algorithm_that_is_not_allowed_is_refused_whatever_is_configured(name: object) -> None:
    token = signed(RSA, "RS256", {}).split(".")
    made = ".".join([_encoded({"alg": name}), *token[1:]])

    assert fault_of(read_head, made, [*ASYMMETRIC, "none", "HS256"]) is Fault.ALGORITHM


def test_an_asymmetric_algorithm_that_is_not_configured_is_refused() -> None:
    assert fault_of(read_head, signed(RSA, "RS256", {}), ["ES256"]) is Fault.ALGORITHM


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"crit": ["b64"]}, Fault.CRITICAL),
        ({"crit": []}, Fault.CRITICAL),
        ({"typ": "secevent+jwt"}, Fault.TYPE),
        ({"kid": 7}, Fault.MALFORMED),
        ({"kid": {"a": 1}}, Fault.MALFORMED),
    ],
)
def test_a_head_that_asks_for_more_is_refused(members: dict[str, object], fault: Fault) -> None:
    token = _encoded({"alg": "RS256"} | members) + ".e30.AAAA"

    assert fault_of(read_head, token, ASYMMETRIC) is fault


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_the_types_of_access_tokens_are_accepted(typ: str) -> None:
    token = _encoded({"alg": "RS256", "typ": typ}) + ".e30.AAAA"

    assert read_head(token, ASYMMETRIC) == Head("RS256", None)


@pytest.mark.parametrize(
    "token", ["", "..", "a.b.c", "ä.b.c", "W10.e30.x", "Ww.e30.x", "x" * 20_000 + ".e30.x"]
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    assert fault_of(read_head, token, ASYMMETRIC) is Fault.MALFORMED


def test_a_key_in_the_head_is_not_looked_at() -> None:
    own = RSAKey.generate_key(2048)
    token = signed(own, "RS256", {}, kid="rsa", jwk=own.as_dict(private=False))
    head = read_head(token, ASYMMETRIC)

    keys = published(RSA).fitting(head.algorithm, head.key_id)

    assert fault_of(verified, token, head, keys) is Fault.SIGNATURE


def test_without_a_key_id_every_key_of_the_kind_is_tried() -> None:
    others = [RSAKey.generate_key(2048), ECKey.generate_key("P-256")]
    token = signed(RSA, "RS256", {"sub": "x"})
    head = read_head(token, ASYMMETRIC)

    keys = published(*others, RSA).fitting(head.algorithm, None)

    assert len(keys) == 2
    assert verified(token, head, keys) == {"sub": "x"}


@pytest.mark.parametrize(
    "members", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "RS512"}, {"alg": "RSA-OAEP"}]
)
def test_a_key_for_something_else_checks_no_signature(members: dict[str, object]) -> None:
    other = ECKey.generate_key("P-256").as_dict(private=False)

    keys = read_key_set({"keys": [RSA.as_dict(private=False) | members, other]})

    assert keys.fitting("RS256", "rsa") == []


def test_weak_secret_and_broken_keys_are_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weak = RSAKey.generate_key(1024).as_dict(private=False)
    secret = OctKey.generate_key(256).as_dict()
    broken = [{"kty": "RSA"}, {"kty": "EC", "crv": "P-0"}, {"use": []}, {"kty": "OKP"}, 7, None]
    good = RSA.as_dict(private=False)

    keys = read_key_set({"keys": [weak, secret, *broken, good, good | {"key_ops": 7}]})

    assert [key.key_id for key in keys.keys] == ["rsa"]


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AA"}]},
     {"keys": [{}] * (MAX_KEYS + 1)}],
)  # fmt: skip
def test_a_set_without_a_usable_key_is_no_set(document: object) -> None:
    with pytest.raises(ValueError, match="key"):
        read_key_set(document)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"iss": "https://idp.test/"}, Fault.ISSUER),
        ({"iss": ["https://idp.test"]}, Fault.ISSUER),
        ({"iss": None}, Fault.ISSUER),
        ({"aud": "Gateway"}, Fault.AUDIENCE),
        ({"aud": []}, Fault.AUDIENCE),
        ({"aud": [["gateway"], 1]}, Fault.AUDIENCE),
        ({"aud": None}, Fault.AUDIENCE),
        ({"exp": NOW - 30}, Fault.EXPIRED),
        ({"exp": None}, Fault.EXPIRED),
        ({"exp": str(NOW + 60)}, Fault.MALFORMED),
        ({"exp": True}, Fault.MALFORMED),
        ({"exp": float("nan")}, Fault.MALFORMED),
        ({"exp": float("inf")}, Fault.MALFORMED),
        ({"exp": 10**400}, Fault.MALFORMED),
        ({"nbf": NOW + 31}, Fault.NOT_YET),
        ({"iat": NOW + 31}, Fault.NOT_YET),
        ({"nbf": "soon"}, Fault.MALFORMED),
    ],
)
def test_claims_that_are_not_for_here_and_now_are_refused(
    changed: dict[str, object], fault: Fault
) -> None:
    assert fault_of(check_claims, CLAIMS | changed, EXPECTED, NOW) is fault


@pytest.mark.parametrize(
    "changed",
    [{}, {"aud": ["other", "archive"]}, {"exp": NOW - 29}, {"nbf": NOW + 30, "iat": NOW + 30}],
)
def test_claims_for_here_and_now_are_accepted(changed: dict[str, object]) -> None:
    claims = CLAIMS | changed

    assert check_claims(claims, EXPECTED, NOW).ends_at == claims["exp"] + 30


@pytest.mark.parametrize("subject", [None, "", 7, "x" * 256, "a\nb", "Müller", ["x"]])
def test_a_subject_that_is_not_fit_for_the_audit_is_refused(subject: object) -> None:
    assert fault_of(subject_of, {"sub": subject}) is Fault.SUBJECT


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("scope", ("a", "b")),
        ("roles", ("a", "b c")),
        ("deep.er.roles", ("x",)),
        ("https://idp.test/roles", ("y",)),
        ("deep", ()),
        ("deep.missing.roles", ()),
        ("scope.roles", ()),
        ("number", ()),
        ("nothing", ()),
    ],
)
def test_words_are_found_by_the_path_of_their_claim(path: str, found: tuple[str, ...]) -> None:
    claims = {
        "scope": "a b a",
        "roles": ["a", "b c", 7, None],
        "deep": {"er": {"roles": ["x"]}},
        "https://idp.test/roles": "y",
        "number": 7,
    }

    assert texts_at(claims, path) == found


def _encoded(members: dict[str, object]) -> str:
    return urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()
