"""Which patient somebody means who asks for an erasure. Pure."""

import re
from typing import Final

from app.errors import InvalidRequest, MistypedCloudStudyId
from app.vault.pseudonyms import ALPHABET, parse_cloud_patient_id, parse_cloud_study_id

PATIENT: Final = "patient"
STUDY: Final = "study"
_LOOKS_LIKE_PATIENT: Final = re.compile(rf"[Pp][{ALPHABET}{ALPHABET.lower()}]{{12}}")


def named(pseudonym: str, organization: str) -> tuple[str, str]:
    """Read a pseudonym: what it names, and its canonical form.

    Raises:
        InvalidRequest: it is neither a cloud patient id nor a cloud study id.
    """
    text = pseudonym.strip().removeprefix(f"{organization}-")
    if _LOOKS_LIKE_PATIENT.fullmatch(text):
        return PATIENT, parse_cloud_patient_id(text)
    try:
        return STUDY, parse_cloud_study_id(text)
    except MistypedCloudStudyId:
        raise InvalidRequest(
            "This is neither a cloud patient id nor a cloud study id; check it for typing errors"
        ) from None
