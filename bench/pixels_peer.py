"""Presidio's image redactor on the same images, a worker process in the peers' environment.

It is told its defaults: text from Tesseract, everything that the header names, and what its
patterns find. No package index carries a language model with weights for it, so spaCy's blank
English stands for one: names that are not in the header are found by no one here.
"""

import contextlib
import importlib
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import worker

Redact = Callable[[str, str], object]


def redactor() -> Redact:
    """Return Presidio's way of taking a file to a directory."""
    redaction = importlib.import_module("presidio_image_redactor")
    engine = redaction.DicomImageRedactorEngine(
        image_analyzer_engine=redaction.ImageAnalyzerEngine(analyzer_engine=_analyzer())
    )

    def redact(name: str, out: str) -> object:
        return engine.redact_from_file(name, out, fill="background", verbose=False)

    return redact


def _analyzer() -> Any:  # noqa: ANN401 - the package is in another environment
    analysis = importlib.import_module("presidio_analyzer")
    language = importlib.import_module("presidio_analyzer.nlp_engine")
    spacy = importlib.import_module("spacy")
    engine = language.SpacyNlpEngine()
    engine.nlp = {"en": spacy.blank("en")}
    return analysis.AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])


def work(redact: Redact) -> worker.Work:
    """Return the far side: each file into a directory of its own, and what went wrong."""

    def run(files: Sequence[str], out: str) -> dict[str, Any]:
        failed: dict[str, str] = {}
        seconds: dict[str, float] = {}
        for name in files:
            stem = Path(name).stem
            folder = Path(out) / stem
            folder.mkdir()
            started = time.perf_counter()
            try:
                redact(name, str(folder))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it says
                failed[stem] = type(error).__name__
            seconds[stem] = time.perf_counter() - started
        return {"failed": failed, "seconds": seconds}

    return run


def main() -> None:
    """Serve the redactor; Tesseract's folder is the argument."""
    os.environ["PATH"] = f"{sys.argv[1]}:{os.environ['PATH']}"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()):
        redact = redactor()
    worker.serve(work(redact))


if __name__ == "__main__":
    main()
