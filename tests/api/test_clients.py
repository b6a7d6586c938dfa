"""Which address a request counts for, whether it brings a credential, and who speaks TLS."""

import pytest

from app.api.clients import Proxies, has_credential


def scope(client: str | None, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (client, 4711) if client else None, "headers": headers}


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("192.0.2.7", (), "192.0.2.7"),
        ("192.0.2.7", ("198.51.100.1",), "192.0.2.7"),  # not a proxy of ours: anybody writes that
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4", "198.51.100.1, 10.0.0.2"), "198.51.100.1"),
        ("10.0.0.1", ("10.0.0.3",), "10.0.0.3"),
        ("10.0.0.1", ("unknown",), "10.0.0.1"),
        ("10.0.0.1", ("1.2.3.4, unknown, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("2001:db8::a:1", (), "2001:db8::/64"),
        ("2001:db8::b:2", (), "2001:db8::/64"),
        ("::ffff:192.0.2.7", (), "192.0.2.7"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("testclient", (), "unknown"),
        (None, (), "unknown"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_counts(
    client: str | None, forwarded: tuple[str, ...], expected: str
) -> None:
    assert Proxies(["10.0.0.0/8"]).client_of(scope(client, *forwarded)) == expected


@pytest.mark.parametrize(
    ("client", "said", "expected"),
    [
        ("10.0.0.1", [b"https"], True),
        ("10.0.0.1", [b"http"], False),
        ("10.0.0.1", [], False),
        ("10.0.0.1", [b"https", b"http"], False),  # the nearest proxy's word counts
        ("10.0.0.1", [b"http, HTTPS "], True),
        ("192.0.2.7", [b"https"], False),
        (None, [b"https"], False),
    ],
)
def test_a_trusted_proxy_tells_of_tls(
    client: str | None, said: list[bytes], expected: bool
) -> None:
    headers = [(b"x-forwarded-proto", value) for value in said]
    asked = scope(client) | {"headers": headers}

    assert Proxies(["10.0.0.0/8"]).has_tls(asked) is expected


@pytest.mark.parametrize(
    ("path", "name", "value", "expected"),
    [
        ("/batches", b"authorization", b"Bearer x", True),
        ("/batches", b"x-api-key", b"x", True),
        ("/batches", b"cookie", b"deid-review=x", False),
        ("/review", b"cookie", b"a=1; deid-review=x", True),
        ("/review/static/0123456789ab/review.css", b"cookie", b"deid-review=x", False),
        ("/review", b"cookie", b"another=x", False),
    ],
)
def test_a_sessions_cookie_is_a_credential_where_it_is_opened(
    path: str, name: bytes, value: bytes, expected: bool
) -> None:
    assert has_credential({"path": path, "headers": [(name, value)]}) is expected
