"""The profiles of a site, and what the pipeline needs for each."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from app import errors
from app.bootstrap.pixels import mask_rules, pixel_parts
from app.deid.profile import BUILT_IN, Profile, profile_from_text
from app.deid.profile_text import MAX_CHARACTERS
from app.deid.rules.text import Recognizer
from app.dicom.tokens import Limits
from app.pipeline import Context
from app.pipeline.recognizing import fingerprint_of, open_recognizer, versioned
from app.pipeline.side_work import PixelParts
from app.settings import Settings
from app.vault.pseudonyms import Pseudonyms
from app.vault.service import Vault

PROFILE_SUFFIXES: Final = frozenset({".json", ".yaml", ".yml"})


def text_of(file: Path) -> str:
    """Return the text of a profile or template file.

    Raises:
        InvalidProfile: it is no text, or too long.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        raw = opened.read(4 * MAX_CHARACTERS + 1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise errors.InvalidProfile("The file is no text in UTF-8") from None
    if len(text) > MAX_CHARACTERS:
        raise errors.InvalidProfile("The text is longer than any profile")
    return text


class Profiles:
    """The ready-made profiles and those of a directory, read once.

    Raises:
        errors.Misconfigured: the directory cannot be listed, a file in it is not a profile, or a
            name comes twice.
    """

    def __init__(
        self,
        directory: Path | None,
        recognizer: Path | None = None,
        pixel_rules: Path | None = None,
    ) -> None:
        self._fingerprint = fingerprint_of(recognizer) if recognizer else ""
        self._pixel_rules = pixel_rules
        self._by_name = {name: self.as_used(profile) for name, profile in BUILT_IN.items()}
        for path in _listed(directory) if directory else ():
            self._add(path)

    def get(self, name: str) -> Profile:
        """Return one profile; raise errors.ProfileNotFound for an unknown name."""
        try:
            return self._by_name[name]
        except KeyError:
            raise errors.ProfileNotFound from None

    def all(self) -> tuple[Profile, ...]:
        """Return every profile, the ready-made ones first."""
        return tuple(self._by_name.values())

    def as_used(self, profile: Profile) -> Profile:
        """Return a profile with the version that it has beside this site's recogniser and rules."""
        known = versioned(profile, self._fingerprint)
        if not profile.cleans_pixels:
            return known
        told = f"{known.version} {mask_rules(self._pixel_rules).version}".encode()
        return replace(known, version=hashlib.sha256(told).hexdigest()[:12])

    def _add(self, path: Path) -> None:
        try:
            profile = profile_from_text(text_of(path))
        except (errors.InvalidProfile, OSError) as error:
            raise errors.Misconfigured(f"the profile {path.name} cannot be used: {error}") from None
        if profile.name in self._by_name:
            raise errors.Misconfigured(f"the profile {path.name} has a name that is taken")
        self._by_name[profile.name] = self.as_used(profile)


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in PROFILE_SUFFIXES)
    except OSError as error:
        raise errors.Misconfigured(
            f"the directory of profiles cannot be listed ({error.strerror})"
        ) from None


def profiles_of(settings: Settings) -> Profiles:
    """Return the profiles of this site.

    Raises:
        errors.Misconfigured: one of them cannot be used.
    """
    return Profiles(settings.profiles_dir, settings.recognizer, settings.pixel_rules_dir)


class Contexts:
    """Gives the pipeline what it needs, put together once per organisation and profile."""

    def __init__(
        self,
        vault: Vault,
        profiles: Profiles,
        limits: Limits,
        recognize: Recognizer | None = None,
        pixels: PixelParts | None = None,
    ) -> None:
        self._recognize = recognize
        self._pixels = pixels
        self._vault = vault
        self._profiles = profiles
        self._limits = limits
        self._known: dict[tuple[str, str, str], Context] = {}

    def get(self, organization: str, profile: str, domain: str = "") -> Context:
        """Return the context by names; raise errors.ProfileNotFound for an unknown profile."""
        known = self._known.get((organization, profile, domain))
        if known is None:
            known = self.of(organization, self._profiles.get(profile), domain)
            self._known[organization, profile, domain] = known
        return known

    def profiles(self) -> tuple[Profile, ...]:
        """Return every profile, the ready-made ones first."""
        return self._profiles.all()

    def of(self, organization: str, profile: Profile, domain: str = "") -> Context:
        """Return the context for a profile at hand."""
        pseudonyms = self._vault.pseudonyms(organization, domain)
        known = Context(organization, profile, pseudonyms, self._limits, self._recognize, domain)
        return replace(known, pixels=self._pixels) if profile.cleans_pixels else known


@contextmanager
def passing_contexts(settings: Settings, profiles: Iterable[Profile]) -> Iterator[list[Context]]:
    """Lend contexts for results that go nowhere: one passing key makes their pseudonyms.

    Nothing is held back for a review, and no file is written.

    Raises:
        errors.Misconfigured: the recogniser or the mask rules cannot be used.
    """
    organization, recognizer = settings.organization, recognizer_of(settings)
    pseudonyms = Pseudonyms(os.urandom(32), organization)
    limits = limits_of(settings)
    with pixel_parts(settings, None, None) as pixels:
        yield [
            Context(organization, one, pseudonyms, limits, recognizer, pixels=pixels)
            for one in profiles
        ]


def recognizer_of(settings: Settings) -> Recognizer | None:
    """Open the recogniser of this site, if it has one."""
    return open_recognizer(settings.recognizer) if settings.recognizer else None


def limits_of(settings: Settings) -> Limits:
    """Return the bounds on one instance."""
    return Limits(
        max_header_bytes=settings.max_header_bytes,
        max_elements=settings.max_elements,
        max_depth=settings.max_depth,
        max_converted_bytes=settings.max_converted_bytes,
    )
