"""Which address a request counts for."""

import pytest

from app.api.clients import Proxies


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
