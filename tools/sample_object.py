"""Writes the synthetic sample study to a directory: ``python tools/sample_object.py OUT_DIR``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.samples import write_sample_study


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="OUT_DIR")
    chosen = parser.parse_args(arguments)
    for path in write_sample_study(chosen.directory):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
