"""A site's entity recogniser: real Presidio over a model of one name, made here."""

import sys
from pathlib import Path

import pytest
import spacy
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from spacy.language import Language
from spacy.pipeline import EntityRuler

from app import bootstrap
from app.deid.profile import BUILT_IN
from app.errors import Misconfigured, RecognizerFailed
from app.pipeline.recognizing import fingerprint_of, open_recognizer, versioned
from tests.cli.conftest import Invoke, files_below

NAME = "Quillfeather"
TEXT = "knee of Quillfeather, axial"


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Presidio's configuration for a model that knows one name."""
    directory = tmp_path_factory.mktemp("recognizer")
    model = spacy.blank("en")
    ruler = model.add_pipe("entity_ruler")
    assert isinstance(ruler, EntityRuler)
    ruler.add_patterns([{"label": "PERSON", "pattern": NAME}])
    model.to_disk(directory / "model")
    path = directory / "analyzer.yaml"
    path.write_text(
        f"""
supported_languages: [en]
default_score_threshold: 0
nlp_configuration:
  nlp_engine_name: spacy
  models:
    - {{lang_code: en, model_name: "{directory / "model"}"}}
  ner_model_configuration:
    model_to_presidio_entity_mapping: {{PERSON: PERSON}}
    labels_to_ignore: []
recognizer_registry:
  supported_languages: [en]
  recognizers:
    - {{name: SpacyRecognizer, type: predefined, supported_languages: [en]}}
"""
    )
    return path


@pytest.fixture
def described(folder: Path) -> Path:
    """An object whose description names somebody who stands nowhere else in it."""
    path = folder / "first.dcm"
    dataset = dcmread(path)
    dataset.SeriesDescription = TEXT
    dataset.save_as(path)
    return path


def series_description(folder: Path) -> str:
    (name,) = files_below(folder)
    return str(dcmread(folder / name).SeriesDescription)


def test_what_a_recognizer_finds_goes_from_text_that_is_cleaned(
    invoke: Invoke,
    described: Path,
    configuration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (described, "--profile", "teleradiology", "-o")
    assert invoke("anonymize", *arguments, tmp_path / "without").exit_code == 0
    monkeypatch.setenv("DEID_RECOGNIZER", str(configuration))
    done = invoke("anonymize", *arguments, tmp_path / "with")

    assert done.exit_code == 0, done.output
    assert series_description(tmp_path / "without") == TEXT
    assert series_description(tmp_path / "with") == "knee of , axial"


def test_an_object_whose_text_was_not_looked_at_is_refused(
    invoke: Invoke,
    described: Path,
    configuration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = open_recognizer(configuration)

    def fail(*_arguments: object, **_named: object) -> None:
        raise ValueError(TEXT)

    monkeypatch.setattr(Language, "__call__", fail)
    monkeypatch.setattr("app.bootstrap.profiles.open_recognizer", lambda _path: find)
    monkeypatch.setenv("DEID_RECOGNIZER", str(configuration))
    done = invoke("anonymize", described, "--profile", "teleradiology", "-o", tmp_path / "out")

    assert done.exit_code == 1
    assert RecognizerFailed.code in done.output
    assert NAME not in done.output
    assert files_below(tmp_path / "out") == []


def test_versions_of_profiles_tell_the_recognizer_where_it_decides(configuration: Path) -> None:
    plain, beside = bootstrap.Profiles(None), bootstrap.Profiles(None, configuration)

    changed = {name for name in BUILT_IN if plain.get(name).version != beside.get(name).version}

    assert "teleradiology" in changed
    assert "basic" not in changed
    assert beside.get("teleradiology") == versioned(
        BUILT_IN["teleradiology"], fingerprint_of(configuration)
    )


@pytest.mark.parametrize(
    "content", ["nonsense: [", "supported_languages: [en]\nnlp_configuration: 3\n"]
)
def test_a_configuration_that_makes_no_analyzer_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "analyzer.yaml"
    path.write_text(content)

    with pytest.raises(Misconfigured, match=r"analyzer\.yaml"):
        open_recognizer(path)


def test_a_configuration_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.yaml"):
        bootstrap.Profiles(None, tmp_path / "none.yaml")


def test_the_extra_is_named_where_it_is_missing(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)

    with pytest.raises(Misconfigured, match="presidio"):
        open_recognizer(configuration)
