"""Real files to read: those in pydicom's wheel, and the corpus beside the checkout if it is there.

A file is called by the beginning of its content's SHA-256, for file names may tell something.
"""

import hashlib
from functools import cache
from pathlib import Path

import pydicom.data

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
BUNDLED = Path(pydicom.data.__file__).parent
_NOT_DICOM = {".py", ".pyc", ".csv", ".md", ".json", ".txt"}
_ANSWERS = "_answer_keys"


@cache
def files_below(folder: Path) -> dict[str, Path]:
    """Return content hash → path, each content once."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _NOT_DICOM and _ANSWERS not in path.parts:
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest()[:12], path)
    return dict(sorted(found.items()))


def all_files() -> dict[str, Path]:
    """Return every file that is at hand, by its content's hash."""
    return files_below(CORPUS) | files_below(BUNDLED)
