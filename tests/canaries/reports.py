"""A structured report with a canary in an item of every value type."""

from collections.abc import Callable

from pydicom.dataset import Dataset

from tests.builders import Identity, Planter, sr


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def report(who: Identity) -> Dataset:
    """Return an ordinary report."""
    return sr(who)


# Concepts: one that Table E.3.4-1 lists as free text, one that it lists to be removed, a local one.
CONCEPTS = {
    "listed": _coded("121106", "DCM", "Comment"),
    "accession": _coded("121022", "DCM", "Accession Number"),
    "local": _coded("L-1", "99LOCAL", "Local remark"),
}


def plant_report(dataset: Dataset, planter: Planter) -> None:
    """Add an item of every value type for each concept, at the root and inside a container."""
    inner = Dataset()
    inner.RelationshipType, inner.ValueType = "CONTAINS", "CONTAINER"
    inner.ContinuityOfContent = "SEPARATE"
    inner.ConceptNameCodeSequence = [_coded("121070", "DCM", "Findings")]
    inner.ContentSequence = _items(planter, "inner")
    dataset.ContentSequence = [*_items(planter, "outer"), inner]
    dataset.CompletionFlagDescription = planter.text("report CompletionFlagDescription")
    observer = dataset.VerifyingObserverSequence[0]
    observer.VerifyingObserverName = planter.text("report VerifyingObserverName")
    observer.VerifyingOrganization = planter.text("report VerifyingOrganization")
    author = Dataset()
    author.ObserverType, author.PersonName = "PSN", planter.text("report author")
    author.InstitutionName = planter.text("report author's institution")
    dataset.AuthorObserverSequence = [author]


def _items(planter: Planter, where: str) -> list[Dataset]:
    made = []
    for name, concept in CONCEPTS.items():
        for value_type, fill in _FILLERS.items():
            item = Dataset()
            item.RelationshipType, item.ValueType = "CONTAINS", value_type
            item.ConceptNameCodeSequence = [concept]
            fill(item, planter, f"report {where} {name} {value_type}")
            made.append(item)
    return made


def _text(item: Dataset, planter: Planter, place: str) -> None:
    item.TextValue = planter.text(place)


def _person(item: Dataset, planter: Planter, place: str) -> None:
    item.PersonName = planter.text(place)


def _date(item: Dataset, planter: Planter, place: str) -> None:
    item.Date = planter.date(place)


def _time(item: Dataset, planter: Planter, place: str) -> None:
    item.Time = planter.time(place)


def _date_time(item: Dataset, planter: Planter, place: str) -> None:
    item.DateTime = planter.date_time(place)


def _uid(item: Dataset, planter: Planter, place: str) -> None:
    item.UID = planter.uid(place)


def _reference(item: Dataset, planter: Planter, place: str) -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = planter.uid(place)
    item.ReferencedSOPSequence = [reference]


def _number(item: Dataset, planter: Planter, place: str) -> None:
    measured = Dataset()
    measured.NumericValue = planter.number(place)
    measured.MeasurementUnitsCodeSequence = [_coded("mm", "UCUM", "mm")]
    item.MeasuredValueSequence = [measured]


def _code(item: Dataset, planter: Planter, place: str) -> None:
    item.ConceptCodeSequence = [_coded("C-1", "99LOCAL", planter.text(place))]


_FILLERS: dict[str, Callable[[Dataset, Planter, str], None]] = {
    "TEXT": _text,
    "PNAME": _person,
    "DATE": _date,
    "TIME": _time,
    "DATETIME": _date_time,
    "UIDREF": _uid,
    "IMAGE": _reference,
    "COMPOSITE": _reference,
    "WAVEFORM": _reference,
    "NUM": _number,
    "CODE": _code,
}
