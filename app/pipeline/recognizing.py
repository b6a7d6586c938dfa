"""An entity recogniser beside the rules of Clean Descriptors: Presidio, where a site wants one.

The rules know an instance's own values and what identifies by its form. A recogniser finds names
and places that stand nowhere else. It costs milliseconds a text instead of microseconds, and is
never needed: without it nothing of it is imported.
"""

import hashlib
import logging
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.deid.planning import place_for
from app.deid.profile import Profile
from app.deid.rules.text import Recognizer
from app.errors import Misconfigured, RecognizerFailed

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

EXTRA: Final = "presidio"
_PACKAGES: Final = ("presidio-analyzer", "spacy")
_WORDLESS: Final = 2  # letters: nobody is named by less


def versioned(profile: Profile, fingerprint: str) -> Profile:
    """Return a profile whose version tells the recogniser as well, where it has text to clean.

    Args:
        profile: as it is without one.
        fingerprint: of the recogniser; empty where there is none.
    """
    rules = place_for(profile, None, overrides=profile.overrides).rules
    if not fingerprint or not rules.cleans_text:
        return profile
    told = f"{profile.version} {fingerprint}".encode()
    return replace(profile, version=hashlib.sha256(told).hexdigest()[:12])


def fingerprint_of(path: Path) -> str:
    """Return what a recogniser's outcome depends on, hashed: its configuration and packages.

    Raises:
        Misconfigured: the file cannot be read.
    """
    packages = " ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    try:
        return hashlib.sha256(path.read_bytes() + packages.encode()).hexdigest()
    except OSError as error:
        raise Misconfigured(f"{path.name} cannot be read ({error.strerror})") from None


def open_recognizer(path: Path) -> Recognizer:
    """Make a recogniser of Presidio's own configuration file for its analyzer.

    Every language that the file supports is looked for, and every entity that its recognisers know.
    What is returned raises RecognizerFailed where a text could not be looked at.

    Raises:
        Misconfigured: the packages are not installed, or the file does not describe an analyzer.
    """
    try:
        from presidio_analyzer import AnalyzerEngineProvider  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise Misconfigured(
            f"a recogniser needs the extra {EXTRA}, which is not installed"
        ) from None
    logging.getLogger("presidio-analyzer").disabled = True  # what it says may quote texts
    try:
        engine = AnalyzerEngineProvider(analyzer_engine_conf_file=path).create_engine()
        _find(engine, "warm up")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - its loaders do both in many ways
        kind = type(error).__name__
        raise Misconfigured(f"the recogniser of {path.name} cannot be made ({kind})") from None
    return lambda text: _found(engine, text)


def _found(engine: "AnalyzerEngine", text: str) -> list[tuple[int, int]]:
    if sum(map(str.isalpha, text)) < _WORDLESS:
        return []
    try:
        return _find(engine, text)
    except Exception:  # noqa: BLE001 - whatever it is, the text has not been looked at
        raise RecognizerFailed from None


def _find(engine: "AnalyzerEngine", text: str) -> list[tuple[int, int]]:
    return sorted(
        {
            (result.start, result.end)
            for language in engine.supported_languages
            for result in engine.analyze(text=text, language=language)
        }
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
