"""What an explanation says of single elements, and what it never says."""

import itertools
import json
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from app.deid.explaining import Line, Result
from app.deid.explaining_kinds import kind_of, shown
from app.deid.explaining_rules import RuleKind
from app.deid.profile import Profile, profile_from_text
from app.dicom.source import FileSource
from app.pipeline import deidentify
from app.pipeline.explaining import differences, explained
from app.pipeline.reporting import explanation_json, report_json
from tests import builders
from tests.deid.explained import EVERYTHING, context, explain, lines_of

WHO = builders.Identity()


def ct() -> Dataset:
    return builders.ct(WHO)


def explained_ct(dataset: Dataset, profile: str | Profile = "basic", **options) -> dict[str, Line]:
    return lines_of(builders.part10(dataset), profile, **options)


def with_private(creator: str) -> Dataset:
    dataset = ct()
    dataset.add(DataElement(0x00190010, "LO", creator))
    dataset.add(DataElement(0x00191002, "SL", 7))
    return dataset


def profile(text: str) -> Profile:
    return profile_from_text(f"name: mine\n{text}")


# --- What decided ------------------------------------------------------------------------------


def test_a_row_of_the_table_is_named() -> None:
    line = explained_ct(ct())["(0008,0090)"]

    assert (line.rule.kind, line.rule.row, line.rule.option) == (
        RuleKind.TABLE,
        "(0008,0090)",
        "",
    )


def test_the_option_whose_column_decided_is_named() -> None:
    dataset = ct()
    dataset.PatientSex = "F"

    line = explained_ct(dataset, "teleradiology")["(0010,0040)"]

    assert line.rule.option == "retain_patient_characteristics"
    assert line.result is Result.KEPT


def test_a_rule_of_the_profile_is_named_by_its_number() -> None:
    mine = profile(
        "overrides:\n"
        "- {keyword: PatientComments, action: X}\n"
        "- {keyword: Manufacturer, action: replace-with, value: SOMEBODY}\n"
    )
    dataset = ct()
    dataset.Manufacturer = "ACME"

    line = explained_ct(dataset, mine)["(0008,0070)"]

    assert (line.rule.kind, line.rule.number) == (RuleKind.OVERRIDE, 2)
    assert (line.effect, line.new) == ("replace", "text of the profile")


def test_what_came_in_with_the_result_is_told() -> None:
    dataset = ct()
    del dataset.AccessionNumber

    lines = explained_ct(dataset)

    assert lines["(0008,0050)"].result is Result.INSERTED
    assert lines["(0012,0063)"].rule.kind is RuleKind.MARKER


def test_kept_text_that_was_cleaned_is_not_called_kept() -> None:
    dataset = ct()
    dataset.Manufacturer = f"for {WHO.given} {WHO.family}"

    line = explained_ct(dataset)["(0008,0070)"]

    assert (line.effect, line.result) == ("clean", Result.CHANGED)
    assert line.rule.text.endswith("identifying text taken out")


def test_of_equal_elements_the_last_one_is_written() -> None:
    twice = builders.raw_element(0x00081090, "LO", b"FIRST ")
    data = builders.part10(ct(), extra={0x00081090: twice + twice})

    results = [line.result for line in explain(data)[0].lines() if line.path == "(0008,1090)"]

    assert results == [Result.REMOVED, Result.KEPT]


# --- Parts of a file that are no elements ------------------------------------------------------


def test_preamble_file_meta_and_trailing_bytes_are_told() -> None:
    data = bytearray(builders.part10(ct()) + bytes(7))
    data[:4] = b"II*\0"

    lines = lines_of(bytes(data))

    assert lines["preamble"].result is Result.CHANGED
    assert lines["(0002,0003)"].effect == "map-uid"
    assert lines["trailing bytes"].result is Result.REMOVED


def test_metadata_inside_frames_is_told() -> None:
    lines = lines_of(builders.part10(builders.us_jpeg(WHO), JPEGBaseline8Bit))

    assert lines["(7FE0,0010)"].result is Result.CHANGED
    assert lines["(7FE0,0010) metadata inside frames"].result is Result.REMOVED


# --- What is never said ------------------------------------------------------------------------


def test_a_published_private_creator_is_named_and_any_other_text_is_not() -> None:
    published = explained_ct(with_private("GEMS_ACQU_01"))
    other = explained_ct(with_private("DOE^JANE"))

    assert published["(0019,1002)"].creator == "GEMS_ACQU_01"
    assert [line.creator for line in other.values() if line.creator] == []


def test_a_creator_that_the_profile_names_is_named() -> None:
    mine = profile(
        "options: [basic, retain-safe-private]\n"
        "safe_private: [{creator: SITE 1, group: '0019', elements: {'02': SL}}]\n"
    )

    line = explained_ct(with_private("SITE 1"), mine)["(0019,1002)"]

    assert (line.creator, line.result) == ("SITE 1", Result.KEPT)
    assert line.rule.kind is RuleKind.SITE_PRIVATE


@pytest.mark.parametrize("kind", ["ct", "sr"])
def test_nothing_that_was_planted_stands_in_a_report_or_an_explanation(kind: str) -> None:
    data, canaries = builders.everything(kind, ExplicitVRLittleEndian)

    explanation, _ = explain(data, EVERYTHING)
    documents = [b"".join(report_json(explanation)), b"".join(explanation_json(explanation))]
    text = b"".join(documents).decode()

    assert all(json.loads(document)["elements"] for document in documents)
    assert [canary.place for canary in canaries if canary.text in text] == []


def test_values_are_told_only_where_they_are_asked_for() -> None:
    dataset = ct()

    without = explained_ct(dataset)["(0010,0020)"]
    line = explained_ct(dataset, values=True)["(0010,0020)"]

    assert (without.old_value, without.new_value) == (None, None)
    assert line.old_value == dataset.PatientID


@pytest.mark.parametrize("name", ["basic", "teleradiology"])
def test_no_pseudonym_is_told_even_with_values(name: str) -> None:
    explanation, made = explain(builders.part10(ct()), name)
    replacements = explanation.done.replacements
    secrets = {
        *(replacements.cloud_study_id, replacements.cloud_patient_id, replacements.patient_id),
        *(replacements.study_uid, replacements.series_uid, replacements.sop_instance_uid),
    }

    text = b"".join(explanation_json(explanation, values=True)).decode()

    assert [secret for secret in secrets if secret in text] == []
    assert all(secret.encode() in made for secret in secrets - {replacements.cloud_patient_id})


def test_a_moved_date_is_not_told_for_it_tells_the_offset() -> None:
    dataset = ct()
    dataset.StudyDate = "20260131"

    line = explained_ct(dataset, "teleradiology", values=True)["(0008,0020)"]

    assert (line.new, line.old_value, line.new_value) == ("date moved", "20260131", None)


def test_lines_hide_their_values_from_repr() -> None:
    line = explained_ct(ct(), values=True)["(0010,0010)"]

    assert WHO.family not in repr(line)


# --- Kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "value", "kind"),
    [
        ("PN", b"DOE^JANE", "PN(8 chars)"),
        ("PN", "Jürgen".encode("latin-1"), "PN(6 chars)"),
        ("DA", b"20260131", "date"),
        ("DA", b"20260131\\20260201", "date(2 values)"),
        ("TM", b"1200", "time"),
        ("UI", b"1.2.3\0", "UID"),
        ("IS", b"12", "number"),
        ("US", b"\1\0\2\0", "number(2 values)"),
        ("OB", b"\1\2\3\4", "OB(4 bytes)"),
        ("LO", b"  ", "empty"),
        ("OW", b"", "empty"),
    ],
)
def test_a_kind_tells_what_a_value_is(vr: str, value: bytes, kind: str) -> None:
    assert kind_of(vr, value, b"ISO_IR 100") == kind


def test_shown_values_have_a_bound() -> None:
    assert len(shown("UT", b"x" * 10_000, b"") or "") == 256
    assert shown("US", bytes(1000), b"") == "\\".join(["0"] * 16) + "\\…"
    assert shown("OB", b"secret", b"") is None


# --- Two profiles ------------------------------------------------------------------------------


def test_differences_are_the_elements_that_two_profiles_treat_differently() -> None:
    dataset = ct()
    dataset.StudyDescription, dataset.SeriesDescription = "HEAD", "AX T1"
    data = builders.part10(dataset)
    left, right = explain(data, "basic")[0], explain(data, "teleradiology")[0]

    found = {
        (one or two).path: (one.effect if one else "", two.effect if two else "")
        for one, two in differences(left.lines(), right.lines())
        if one or two
    }

    assert found["(0008,1030)"] == ("remove", "clean")
    assert "(0010,0010)" not in found


def test_a_profile_differs_in_nothing_from_itself() -> None:
    data, _ = builders.everything("sr", ExplicitVRLittleEndian)
    left, right = explain(data)[0], explain(data)[0]

    assert list(differences(left.lines(), right.lines())) == []


def test_another_identity_template_is_a_difference() -> None:
    data = builders.part10(ct())
    left, right = explain(data, "basic")[0], explain(data, "basic-per-study")[0]

    paths = {one.path for one, _ in differences(left.lines(), right.lines()) if one}

    assert paths >= {"(0010,0010)", "(0010,0020)"}


# --- Large objects -----------------------------------------------------------------------------


class CountingSource(FileSource):
    """Counts what is read of a file."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.read_bytes = 0

    def read(self, offset: int, size: int) -> bytes:
        self.read_bytes += size
        return super().read(offset, size)

    def view(self, offset: int, size: int) -> bytes | memoryview:
        self.read_bytes += size
        return super().view(offset, size)


def test_of_a_large_object_the_header_alone_is_read(tmp_path: Path) -> None:
    dataset = ct()
    dataset.Rows = dataset.Columns = 8192
    dataset.PixelData = b""
    head = builders.part10(dataset)
    size = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    path = tmp_path / "large.dcm"
    with path.open("wb") as file:
        file.write(head[:-4] + size.to_bytes(4, "little"))
        file.truncate(file.tell() + size)  # sparse: zeros that take no room

    with path.open("rb") as file:
        source, with_profile = CountingSource(file.fileno()), context()
        done = deidentify(source, with_profile)
        lines = list(explained(source, with_profile, done).lines())

    assert size > 100 << 20
    assert source.read_bytes < 4 << 20
    assert [line.result for line in lines if line.path == "(7FE0,0010)"] == [Result.KEPT]


def test_pieces_of_a_report_are_small() -> None:
    dataset = ct()
    dataset.RequestAttributesSequence = [builders._code("1", "DCM", "X") for _ in range(2000)]

    pieces = report_json(explain(builders.part10(dataset))[0])

    assert max(map(len, itertools.islice(pieces, 4))) < 128 << 10
