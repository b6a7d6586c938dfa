"""The worked example of the page on writing a profile does what its page says."""

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.cli.profiles import profiles
from app.deid.profile import profile_from_text
from app.dicom.source import MemorySource
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10
from tests.canaries.search import found, searchable

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-profile.md"
WHO = Identity()


@pytest.fixture(scope="module")
def written() -> str:
    return re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]


def result(written: str, dataset: Dataset) -> Dataset:
    context = Context("WOBBLE", profile_from_text(written), Pseudonyms(bytes(32), "WOBBLE"))
    made = b"".join(deidentify(MemorySource(part10(dataset)), context).chunks())
    assert found(WHO.texts, searchable(made)) == []
    return dcmread(io.BytesIO(made))


def test_the_check_finds_no_rule_that_is_weaker(written: str, tmp_path: Path) -> None:
    file = tmp_path / "night-readers.yaml"
    file.write_text(written, encoding="utf-8")

    checked = CliRunner().invoke(profiles, ["check", "--strict", str(file)])

    assert checked.exit_code == 0
    assert re.fullmatch(
        r"night-readers [0-9a-f]{12}: valid, 0 weaker, claims its codes\n", checked.output
    )


def test_every_sentence_of_the_policy_holds(written: str) -> None:
    dataset = ct(WHO)
    dataset.PatientAge, dataset.PatientSex, dataset.StationName = "093Y", "F", "WOBBLE_CT1"
    dataset.RequestingService = "ward 7"
    dataset.SeriesDescription = f"thin lung Zork {WHO.family}"
    dataset.StudyDescription = f"chest, for {WHO.given}"
    dataset.ImageComments = "good"

    read = result(written, dataset)

    assert (read.PatientAge, read.PatientSex, read.StationName) == ("", "F", "SCANNER")
    assert "RequestingService" not in read
    assert (read.SeriesDescription, read.StudyDescription) == ("thin lung", "chest, for")
    assert read.ImageComments == "good"
    assert read.StudyDate not in {"20240229", "19000101"}
    assert read.PatientID.startswith("NR-P")
    assert read.InstitutionName == "WOBBLE"


def test_comments_of_ultrasound_go(written: str) -> None:
    dataset = ct(WHO)
    dataset.Modality, dataset.ImageComments = "US", "good"

    assert "ImageComments" not in result(written, dataset)
