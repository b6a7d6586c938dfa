"""Every provider wraps the content of key files alike, and what it refuses nobody reads."""

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from app.errors import KeyUnavailable, Misconfigured
from app.vault.keyrings.envelope import GATEWAY, REIDENTIFICATION, Wrapper, packed, unpacked
from app.vault.keyrings.hsm import Hsm
from app.vault.keyrings.kms import Kms
from app.vault.keyrings.providers import Provider, ProviderOptions
from app.vault.keyrings.transit import Transit
from app.vault.keys import Wrappers, ensure_key_files, load_keys, load_reidentify_keys
from app.vault.keys_store import KeyFiles
from tests.storage.servers import s3_server
from tests.vault.transit_server import TOKEN, TransitServer
from tools import debian_tools

CONTENT = {"version": 1, "planted": "CONTENT-OF-A-KEY-FILE"}
KEY = bytes(range(32))
PIN = "271828"


@dataclass(frozen=True)
class Shop:
    """A provider at work: two wrapping keys of it, and one that it does not have."""

    wrapper: Wrapper
    other: Wrapper
    absent: Wrapper


def secret(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def transit_server():
    with TransitServer() as server:
        yield server


@pytest.fixture
def transit(transit_server: TransitServer, tmp_path: Path) -> Shop:
    token = secret(tmp_path / "token", TOKEN)
    made = Transit(transit_server.url, "transit", "gateway", token)
    return Shop(made, replace(made, key="private"), replace(made, key="nobody"))


@pytest.fixture(scope="module")
def kms_url():
    with s3_server() as url:  # moto's server answers for every service
        yield url


@pytest.fixture
def kms(kms_url: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "tester",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("kms", endpoint_url=kms_url)
    first, second = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    return Shop(Kms(first, kms_url), Kms(second, kms_url), Kms("alias/nobody", kms_url))


@pytest.fixture(scope="session")
def token_library():
    """SoftHSM with one token of two keys. Its library is opened once in a process."""
    if not debian_tools.is_available():
        pytest.skip("SoftHSM comes from Debian's softhsm2, and there is no apt-get here")
    import pkcs11  # noqa: PLC0415 - loads the maker's library into the process

    tool = debian_tools.provide("softhsm2", "softhsm2-util", prefer_installed=False)
    library = next(tool.path.parents[2].glob("usr/lib/*/softhsm/libsofthsm2.so"))
    home = Path(tempfile.mkdtemp(prefix="deid-softhsm-"))
    (home / "tokens").mkdir()
    (home / "softhsm2.conf").write_text(
        f"directories.tokendir = {home}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    pins = ("--so-pin", "314159", "--pin", PIN)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(home / "softhsm2.conf"))
        tool.run("--module", str(library), "--init-token", "--free", "--label", "gateway", *pins)
        with (
            pkcs11.lib(str(library))
            .get_token(token_label="gateway")
            .open(user_pin=PIN, rw=True) as session
        ):
            for label in ("gateway", "private"):
                hidden = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
                session.generate_key(
                    pkcs11.KeyType.AES, 256, label=label, store=True, template=hidden
                )
        yield library
    shutil.rmtree(home)


@pytest.fixture
def hsm(token_library: Path, tmp_path: Path) -> Shop:
    made = Hsm(token_library, "gateway", "gateway", secret(tmp_path / "pin", PIN))
    return Shop(made, replace(made, key="private"), replace(made, key="nobody"))


@pytest.fixture(params=["transit", "kms", "hsm"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue(request.param)


def test_what_is_wrapped_is_unwrapped(shop: Shop) -> None:
    wrapped = shop.wrapper.wrap(KEY, GATEWAY)

    assert shop.wrapper.unwrap(wrapped, GATEWAY) == KEY
    assert KEY not in wrapped


def test_what_is_wrapped_for_one_file_does_not_pass_for_the_other(shop: Shop) -> None:
    wrapped = shop.wrapper.wrap(KEY, GATEWAY)

    with pytest.raises(KeyUnavailable):
        shop.wrapper.unwrap(wrapped, REIDENTIFICATION)


def test_another_wrapping_key_does_not_unwrap_it(shop: Shop) -> None:
    wrapped = shop.wrapper.wrap(KEY, GATEWAY)

    with pytest.raises(KeyUnavailable):
        shop.other.unwrap(wrapped, GATEWAY)


def test_an_altered_wrapped_key_is_refused(shop: Shop) -> None:
    wrapped = bytearray(shop.wrapper.wrap(KEY, GATEWAY))
    wrapped[-3] ^= 1

    with pytest.raises(KeyUnavailable):
        shop.wrapper.unwrap(bytes(wrapped), GATEWAY)


def test_a_wrapping_key_that_is_not_there_is_refused(shop: Shop) -> None:
    with pytest.raises(KeyUnavailable):
        shop.absent.wrap(KEY, GATEWAY)


def test_a_wrapped_file_shows_nothing_of_its_content(shop: Shop) -> None:
    raw = packed(CONTENT, GATEWAY, shop.wrapper)

    assert unpacked(raw, GATEWAY, shop.wrapper) == CONTENT
    assert b"planted" not in raw
    assert json.loads(raw)["provider"] == shop.wrapper.provider


def test_a_file_that_was_altered_behind_the_provider_is_refused(shop: Shop) -> None:
    envelope = json.loads(packed(CONTENT, GATEWAY, shop.wrapper))
    envelope["sealed"] = json.loads(packed({"version": 1}, GATEWAY, shop.wrapper))["sealed"]

    with pytest.raises(KeyUnavailable):
        unpacked(json.dumps(envelope).encode(), GATEWAY, shop.wrapper)


def test_a_gateway_lives_on_wrapped_files_and_each_needs_its_own_wrapping_key(
    shop: Shop, tmp_path: Path
) -> None:
    paths = (tmp_path / "keys.json", tmp_path / "private.json")
    wrappers = Wrappers(shop.wrapper, shop.other)

    ensure_key_files(*paths, wrappers)
    KeyFiles(*paths, wrappers).rotate(activate_in_s=0)

    assert load_keys(paths[0], shop.wrapper).sealing_key_version == 2
    assert set(load_reidentify_keys(paths[1], shop.other).sealing_private_keys) == {1, 2}
    with pytest.raises(KeyUnavailable):
        load_reidentify_keys(paths[1], shop.wrapper)


def test_files_in_clear_are_wrapped_and_keep_their_keys(shop: Shop, tmp_path: Path) -> None:
    paths = (tmp_path / "keys.json", tmp_path / "private.json")
    ensure_key_files(*paths)
    before = load_keys(paths[0])

    KeyFiles(*paths, Wrappers(shop.wrapper, shop.wrapper)).wrap(Wrappers())

    assert load_keys(paths[0], shop.wrapper) == before
    with pytest.raises(Misconfigured, match="wrapped by"):
        load_keys(paths[0])


def test_a_file_in_clear_is_refused_where_a_provider_is_configured(shop: Shop) -> None:
    with pytest.raises(Misconfigured, match="in clear"):
        unpacked(packed(CONTENT, GATEWAY, None), GATEWAY, shop.wrapper)


def test_no_secret_of_a_provider_is_in_a_representation(shop: Shop) -> None:
    assert TOKEN not in repr(shop.wrapper)
    assert PIN not in repr(shop.wrapper)


def test_a_version_of_the_transit_key_stays_in_the_wrapped_key(
    transit: Shop, transit_server: TransitServer
) -> None:
    old = transit.wrapper.wrap(KEY, GATEWAY)
    transit_server.rotate("gateway")
    new = transit.wrapper.wrap(KEY, GATEWAY)

    assert old.partition(b":")[2] != new.partition(b":")[2]
    assert transit.wrapper.unwrap(old, GATEWAY) == transit.wrapper.unwrap(new, GATEWAY) == KEY


def test_a_sealed_transit_server_is_said_to_refuse(
    transit: Shop, transit_server: TransitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transit_server, "is_sealed", True)

    with pytest.raises(KeyUnavailable, match="503"):
        transit.wrapper.wrap(KEY, GATEWAY)


def test_a_wrong_token_is_refused_without_being_shown(transit: Shop, tmp_path: Path) -> None:
    stranger: Any = replace(transit.wrapper, token_file=secret(tmp_path / "t", "s.PLANTED"))

    with pytest.raises(KeyUnavailable) as refused:
        stranger.wrap(KEY, GATEWAY)

    assert "PLANTED" not in str(refused.value)


def test_a_token_that_others_can_read_is_refused(transit: Shop, tmp_path: Path) -> None:
    token = secret(tmp_path / "open", TOKEN)
    token.chmod(0o644)
    careless: Any = replace(transit.wrapper, token_file=token)

    with pytest.raises(Misconfigured, match="open to others"):
        careless.wrap(KEY, GATEWAY)


@pytest.mark.parametrize("provider", [p for p in Provider if p is not Provider.NONE])
def test_a_provider_that_does_not_answer_is_unavailable(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tester")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    options = ProviderOptions(
        provider,
        url="http://127.0.0.1:1",
        secret_file=secret(tmp_path / "secret", "s"),
        module=tmp_path / "absent.so",
        token="absent",
    )

    wrapper = options.wrapper("key")

    assert wrapper is not None
    with pytest.raises(KeyUnavailable):
        wrapper.wrap(KEY, GATEWAY)


@pytest.mark.parametrize(
    ("provider", "setting"),
    [
        (Provider.TRANSIT, "DEID_KEY_PROVIDER_SECRET_FILE"),
        (Provider.HSM, "DEID_KEY_PROVIDER_SECRET_FILE"),
        (Provider.KMS, "DEID_KEY_PROVIDER_KEY"),
    ],
)
def test_a_setting_that_a_provider_needs_is_named(provider: Provider, setting: str) -> None:
    key = None if provider is Provider.KMS else "key"

    with pytest.raises(Misconfigured, match=setting):
        ProviderOptions(provider).wrapper(key)
