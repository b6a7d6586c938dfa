"""The fuzzer starts from streams that are whole, and its target finds no fault with them."""

import pytest

from app import pipeline
from app.dicom.source import MemorySource
from tests.fuzz.seeds import seeds, write, write_words
from tests.fuzz.target import CONTEXT, check

SEEDS = seeds()


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_goes_through_the_whole_pipeline(name):
    result = pipeline.deidentify(MemorySource(SEEDS[name]), CONTEXT)

    assert b"Quillonb" not in b"".join(result.chunks())


@pytest.mark.parametrize("name", SEEDS)
def test_the_target_takes_a_seed_and_its_damaged_forms(name):
    for kept in range(0, len(SEEDS[name]), 7):
        check(SEEDS[name][:kept])
    check(SEEDS[name])


def test_seeds_and_words_are_written_as_the_fuzzer_reads_them(tmp_path):
    write(tmp_path / "seeds")
    write_words(tmp_path / "words")

    assert {path.name for path in (tmp_path / "seeds").iterdir()} == SEEDS.keys()
    assert (tmp_path / "words").read_text().startswith('"\\xff\\xff\\xff\\xff"\n')
