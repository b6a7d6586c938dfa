"""Python peers as worker processes, each doing its closest thing to the Basic Profile.

Runs in the peers' own environment; the name of the peer is the argument.
"""

import contextlib
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import worker


def pydicom_unchanged() -> worker.Work:
    """Read and write with nothing changed: the floor of everything built on pydicom."""
    import pydicom  # noqa: PLC0415 - this peer's own

    def work(files: Sequence[str], out: str) -> None:
        for name in files:
            dataset = pydicom.dcmread(name)
            dataset.save_as(target(name, out))

    return work


def dicognito() -> worker.Work:
    """Run dicognito with its defaults, one anonymiser for the whole study."""
    import pydicom  # noqa: PLC0415 - this peer's own

    anonymizer_class = importlib.import_module("dicognito.anonymizer").Anonymizer

    def work(files: Sequence[str], out: str) -> None:
        anonymizer = anonymizer_class(seed="bench")
        for name in files:
            dataset = pydicom.dcmread(name)
            anonymizer.anonymize(dataset)
            dataset.save_as(target(name, out))

    return work


def dicom_anonymizer() -> worker.Work:
    """Run dicom-anonymizer (Kitware) with its rules of the Basic Profile."""
    anonymize_dicom_file = importlib.import_module("dicomanonymizer").anonymize_dicom_file

    def work(files: Sequence[str], out: str) -> None:
        for name in files:
            anonymize_dicom_file(name, target(name, out))

    return work


def pydicom_deid() -> worker.Work:
    """Run pydicom/deid with its default recipe, private elements removed."""
    recipe_class = importlib.import_module("deid.config").DeidRecipe
    replace_identifiers = importlib.import_module("deid.dicom").replace_identifiers

    def work(files: Sequence[str], out: str) -> None:
        recipe = recipe_class()
        for name in files:
            replace_identifiers(
                dicom_files=[name],
                deid=recipe,
                save=True,
                output_folder=out,
                overwrite=True,
                remove_private=True,
            )

    return work


def target(name: str, out: str) -> str:
    """Return where the result of a file goes."""
    return f"{out}/{os.path.basename(name)}"  # noqa: PTH119 - measured


PEERS: dict[str, Callable[[], Any]] = {
    "pydicom-unchanged": pydicom_unchanged,
    "dicognito": dicognito,
    "dicom-anonymizer": dicom_anonymizer,
    "pydicom-deid": pydicom_deid,
}


def main() -> None:
    """Serve one peer."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()):
        work = PEERS[sys.argv[1]]()
    sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for its whole life
    worker.serve(work)


if __name__ == "__main__":
    main()
