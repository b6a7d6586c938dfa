"""Python peers on the objects of the comparison, in their own environment: file by file.

A file that a peer cannot do is named with the class of the error; the others go on.
"""

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import worker

Work = Callable[[str, str], object]


def dicognito() -> Work:
    """Run dicognito's command with its defaults; the seed keeps one study together."""
    main = importlib.import_module("dicognito.__main__").main

    def work(name: str, out: str) -> None:
        main(["--seed", "bench", "--quiet", "--output-directory", out, name])

    return work


def dicom_anonymizer() -> Work:
    """Run dicom-anonymizer (Kitware) with its defaults."""
    anonymize = importlib.import_module("dicomanonymizer").anonymize_dicom_file
    return lambda name, out: anonymize(name, _target(name, out))


def dicom_anonymizer_newest() -> Work:
    """Run dicom-anonymizer with the rules of the newest edition that it ships."""
    module = importlib.import_module("dicomanonymizer.simpledicomanonymizer")
    folder = Path(module.__file__ or "").parent / "dicom_anonymization_databases"
    newest = max(path.stem for path in folder.glob("dicomfields_*.py"))

    def work(name: str, out: str) -> None:
        module.anonymize_dicom_file(
            name, _target(name, out), base_rules_gen=lambda: module.initialize_actions(newest)
        )

    return work


def pydicom_deid(**given: bool) -> Work:
    """Run pydicom/deid with its default recipe and the variables that this asks for."""
    recipe = importlib.import_module("deid.config").DeidRecipe()
    replace_identifiers = importlib.import_module("deid.dicom").replace_identifiers
    variables = {
        "entity_id": "SUBJECT1",
        "item_id": "ITEM1",
        "entity_timestamp": "19000101",
        "item_timestamp": "19000101",
        "jitter": "0",
    }

    def work(name: str, out: str) -> None:
        replace_identifiers(
            dicom_files=[name],
            ids={name: dict(variables)},
            deid=recipe,
            save=True,
            output_folder=out,
            overwrite=True,
            **given,
        )

    return work


def pydicom_deid_strict() -> Work:
    """Run pydicom/deid with sequences and private elements removed as well."""
    return pydicom_deid(strip_sequences=True, remove_private=True)


def _target(name: str, out: str) -> str:
    return str(Path(out) / Path(name).name)


PEERS: dict[str, tuple[str, Callable[[], Work]]] = {
    "dicom-anonymizer": ("dicom-anonymizer", dicom_anonymizer),
    "dicom-anonymizer-newest": ("dicom-anonymizer", dicom_anonymizer_newest),
    "dicognito": ("dicognito", dicognito),
    "deid": ("deid", pydicom_deid),
    "deid-strict": ("deid", pydicom_deid_strict),
}


def main() -> None:
    """Serve one peer: each file into a directory of its own, named like the file."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # peers have loggers of their own
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    package, build = PEERS[sys.argv[1]]
    with contextlib.redirect_stdout(io.StringIO()):
        one = build()

    def work(files: Sequence[str], out: str) -> dict[str, object]:
        failed = {}
        for name in files:
            folder = Path(out) / Path(name).stem
            folder.mkdir()
            try:
                one(name, str(folder))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a peer says
                failed[Path(name).stem] = type(error).__name__
        return {"failed": failed, "version": importlib.metadata.version(package)}

    worker.serve(work)


if __name__ == "__main__":
    main()
