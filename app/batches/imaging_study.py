"""A FHIR R4 ImagingStudy of one published study: pseudonyms and numbers, no dates, no texts.

Source: HL7 FHIR 4.0.1, ImagingStudy; PS3.6 2026d for codes.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from app.batches.manifest import ManifestHeader, modality_code
from app.batches.manifest_schema import canonical
from app.batches.records import ManifestEntry

IMAGING_STUDY_NAME: Final = "imagingstudy.json"
CONTENT_TYPE: Final = "application/fhir+json"
_UID_SYSTEM: Final = "urn:dicom:uid"
_URI_SYSTEM: Final = "urn:ietf:rfc:3986"
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_ANONYMOUS: Final = "ANON"
_OTHER: Final = "OT"  # FHIR does not let a series go without a modality


def imaging_study(header: ManifestHeader, entries: Iterable[ManifestEntry]) -> bytes:
    """Describe one study.

    Args:
        header: of its batch.
        entries: the study's objects, by series and instance; at least one. The subject is the
            Patient ID of the first; without one it is known by the study alone.
    """
    series, first = [], None
    for _, members in groupby(entries, key=lambda entry: entry.series_uid):
        instances = list(members)
        first = first or instances[0]
        series.append(_series(instances))
    if first is None:
        raise ValueError("a study has at least one object")
    modalities = sorted({one["modality"]["code"] for one in series})
    resource = {
        "resourceType": "ImagingStudy",
        "id": first.cloud_study_id,
        "identifier": [
            {"system": _UID_SYSTEM, "value": f"urn:oid:{first.study_uid}"},
            {"type": {"text": "cloud study id"}, "value": first.cloud_study_id},
        ],
        "status": "available",
        "modality": [_modality(code) for code in modalities],
        "subject": {
            "identifier": {
                "type": {"coding": [{"system": _IDENTIFIER_TYPES, "code": _ANONYMOUS}]},
                "value": first.patient_id or f"{header.organization}-{first.cloud_study_id}",
                "assigner": {"display": header.organization},
            }
        },
        "numberOfSeries": len(series),
        "numberOfInstances": sum(one["numberOfInstances"] for one in series),
        "series": series,
    }
    return canonical(resource).encode()


def _series(entries: Sequence[ManifestEntry]) -> dict[str, Any]:
    first = entries[0]
    return {
        **_uid(first.series_uid),
        "modality": _modality(modality_code(first.modality) or _OTHER),
        "numberOfInstances": len(entries),
        "instance": [
            {
                "uid": entry.sop_instance_uid,
                "sopClass": {"system": _URI_SYSTEM, "code": f"urn:oid:{entry.sop_class_uid}"},
            }
            for entry in entries
        ],
    }


def _uid(uid: str) -> dict[str, Any]:
    """Name a series, or say in the way of FHIR that it has no UID."""
    if uid:
        return {"uid": uid}
    return {"_uid": {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}}


def _modality(code: str) -> dict[str, str]:
    return {"system": _DCM, "code": code}
