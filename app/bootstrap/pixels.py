"""What pixels are worked on with: mask rules, child processes, a reader of text, private files."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from app import errors, telemetry
from app.deid.profile import BUILT_IN, Profile
from app.pipeline.side_work import PixelParts, Quarantine
from app.pixels.children import OCR_MEMORY, QUICK_MEMORY, Children
from app.pixels.rules import RuleSet
from app.pixels.rules_loading import load_rules
from app.settings import Settings

# Without these nothing reads text in images; they are looked for, never imported here.
_READER: Final = ("rapidocr", "onnxruntime")
# Files up to this size are kept in memory instead of on the disk.
_IN_MEMORY_BYTES: Final = 4 << 20


def can_read() -> bool:
    """Say whether something is installed that reads text in images."""
    return all(find_spec(package) is not None for package in _READER)


def mask_rules(directory: Path | None) -> RuleSet:
    """Return the mask rules of the program and of a site.

    Raises:
        errors.Misconfigured: a file of the site is not valid.
    """
    try:
        return load_rules(directory)
    except errors.InvalidRules as error:
        raise errors.Misconfigured(f"the mask rules cannot be used: {error.detail}") from None


@contextmanager
def pixel_parts(
    settings: Settings, quarantine: Quarantine | None, directory: Path | None
) -> Iterator[PixelParts]:
    """Lend what pixels are worked on with; processes are started when they are needed.

    Args:
        settings: numbers, bounds and the site's rules.
        quarantine: where doubtful objects wait; None where nobody can review.
        directory: private, for large files without a name; None keeps them in memory.

    Raises:
        errors.Misconfigured: the site's rules are not valid.
    """
    rules = _Rules(settings.pixel_rules_dir, quarantine)
    workers = Children(size=settings.pixel_processes, memory_bytes=QUICK_MEMORY)
    readers = None
    if settings.ocr_processes and can_read():
        readers = Children(size=settings.ocr_processes, memory_bytes=OCR_MEMORY, niceness=5)
    try:
        yield PixelParts(
            workers=workers,
            readers=readers,
            rules=rules.of,
            quarantine=quarantine,
            scratch=_scratch(directory),
            timeout_s=settings.pixel_timeout_s,
        )
    finally:
        for children in filter(None, (workers, readers)):
            children.close()


def warn_of_pixels(profiles: Iterable[Profile], parts: PixelParts) -> None:
    """Say loudly where profiles clean pixels and nothing reads or reviews them."""
    for profile in profiles:
        if not profile.cleans_pixels or profile.name in BUILT_IN:
            continue  # a ready-made profile that nobody may ever ask for
        if parts.readers is None:
            telemetry.log().warning("ocr-absent", profile=profile.name)
        if parts.quarantine is None:
            telemetry.log().warning("quarantine-absent", profile=profile.name)


class _Rules:
    """The rules of each organisation; those of the program are read when they are asked for."""

    def __init__(self, directory: Path | None, quarantine: Quarantine | None) -> None:
        self._directory = directory
        self._quarantine = quarantine
        self._base = mask_rules(directory) if directory is not None else None
        self._known: dict[str, tuple[tuple[object, ...], RuleSet]] = {}

    async def of(self, organization: str) -> RuleSet:
        """Return the rules of an organisation, those that its people approved among them."""
        if self._base is None:
            self._base = mask_rules(self._directory)
        if self._quarantine is None:
            return self._base
        remembered = tuple(await self._quarantine.remembered(organization))
        known = self._known.get(organization)
        if known is None or known[0] != remembered:
            known = self._known[organization] = remembered, self._base.adding(remembered)
        return known[1]


def _scratch(directory: Path | None) -> Callable[[int], int]:
    """Return what opens private files without a name."""

    def opened(size: int) -> int:
        try:
            if directory is None or size <= _IN_MEMORY_BYTES:
                return os.memfd_create("pixels", os.MFD_CLOEXEC)
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.StorageUnavailable(
                f"No room for the pixels of an object ({error.strerror})"
            ) from None

    return opened
