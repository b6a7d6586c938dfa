"""Where keys come from, and what is renewed when they are."""

from pydantic import SecretStr

from app import telemetry
from app.settings import Settings
from app.settings.service import Role
from app.vault.keyrings.providers import Provider as WrappingProvider
from app.vault.keyrings.providers import ProviderOptions
from app.vault.keys import Wrappers, ensure_key_files
from app.vault.keys_ring import KeyRing
from app.vault.keys_store import KeyFiles, KeyMaterial, KeySource
from app.vault.sealing import Opener
from app.vault.sealing_kems import Kem
from app.vault.service import Vault
from app.vault.signing import Signer
from app.vault.workbox import WorkBox


def key_files(settings: Settings) -> KeyFiles:
    """Return the key files with whoever wraps them; nothing is read.

    Raises:
        errors.Misconfigured: the provider lacks a setting.
    """
    return KeyFiles(
        settings.key_path,
        settings.reidentify_key_path,
        _wrappers(settings),
        settings.review_key_path,
    )


def key_source(settings: Settings) -> KeySource:
    """Return where the keys come from: the environment where they are given there, else files.

    Raises:
        errors.Misconfigured: the provider lacks a setting.
    """
    if settings.key_material is None:
        return key_files(settings)
    return KeyMaterial(
        settings.key_material.get_secret_value().encode(),
        _bytes_of(settings.reidentify_key_material),
        _wrappers(settings),
        _bytes_of(settings.review_key_material),
    )


def _bytes_of(secret: SecretStr | None) -> bytes | None:
    return None if secret is None else secret.get_secret_value().encode()


def _wrappers(settings: Settings) -> Wrappers:
    options = ProviderOptions(
        provider=WrappingProvider(settings.key_provider),
        url=settings.key_provider_url,
        secret_file=settings.key_provider_secret_file,
        mount=settings.vault_mount,
        namespace=settings.vault_namespace,
        module=settings.pkcs11_module,
        token=settings.pkcs11_token,
    )
    key = settings.key_provider_key
    return Wrappers(
        options.wrapper(key),
        options.wrapper(settings.reidentify_key_provider_key or key),
        options.wrapper(settings.review_key_provider_key or key),
    )


def key_ring(settings: Settings) -> KeyRing:
    """Load the keys that the roles need; development mode makes the files on its first start.

    Where a private key has been taken away, development mode goes on without it.
    """
    source = key_source(settings)
    is_private_held = Role.REIDENTIFY in settings.roles
    is_review_held = Role.REVIEW in settings.roles
    if isinstance(source, KeyFiles) and not settings.is_production:
        made = ensure_key_files(source.path, source.reidentify_path, source.wrappers)
        if source.ensure_review(Kem.X25519) or made:
            telemetry.log().warning("key-files-made")
        if is_private_held and not source.reidentify_path.exists():
            telemetry.log().warning("private-key-absent")
            is_private_held = False
        if is_review_held and not source.review_path.exists():
            telemetry.log().warning("review-key-absent")
            is_review_held = False
    return KeyRing(source, is_private_held=is_private_held, is_review_held=is_review_held)


def renew(
    ring: KeyRing, vault: Vault, opener: Opener | None, work_box: WorkBox, signer: Signer
) -> None:
    """Give new keys to all who use them."""
    vault.renew(ring.gateway)
    work_box.renew(ring.gateway)
    signer.renew(ring.gateway)
    if opener is not None and ring.private is not None:
        opener.renew(ring.private)
