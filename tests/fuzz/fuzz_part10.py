"""Fuzz the tokeniser and the pipeline: only errors of the tree may get out, memory stays bounded.

    make fuzz FUZZ_SECONDS=600

What libFuzzer keeps stays below ``.cache/fuzz``: new inputs in ``corpus``, crashes beside it. A
crash is run again with ``tests/fuzz/fuzz_part10.py PATH``.
"""

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["app.dicom", "app.deid", "app.pipeline"]):
    from tests.fuzz import seeds
    from tests.fuzz.target import check

PLACE = ROOT / ".cache" / "fuzz"
DEFAULTS = {"max_len": 8192, "rss_limit_mb": 1024, "timeout": 10}


def main() -> None:
    """Run libFuzzer with the arguments given; what is not given has a default."""
    given = sys.argv[1:]
    defaults = [f"-{n}={v}" for n, v in DEFAULTS.items() if f"-{n}=" not in " ".join(given)]
    if all(argument.startswith("-") for argument in given):
        corpus, words = PLACE / "corpus", PLACE / "words"
        corpus.mkdir(parents=True, exist_ok=True)
        seeds.write(PLACE / "seeds")
        seeds.write_words(words)
        defaults += [f"-artifact_prefix={PLACE}/", f"-dict={words}"]
        given += [str(corpus), str(PLACE / "seeds")]
    atheris.Setup([sys.argv[0], *defaults, *given], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
