"""Words of formats that cleaned documents hold by themselves. Pure.

Somebody may be called Page or Section; that is no reason to throw a document away.
"""

import re

from app.pixels.documents import cda_words

_ELEMENTS = sorted(
    cda_words.HEADER_KEPT
    | cda_words.BODY_KEPT
    | cda_words.NARRATIVE_KEPT
    | frozenset(cda_words.HEADER_MASKED)
    | {"ClinicalDocument", "text", "patientRole", "assignedAuthor", "assignedCustodian", "time"}
    | {"representedCustodianOrganization"}
)
_ATTRIBUTES = sorted(cda_words.STRUCTURE | cda_words.CODED | {"root", "value", "unit", "xsi:type"})
_OWN_WORDS = (
    re.compile(
        rb"/(?:Type|Subtype|Page|Pages|Parent|Kids|Count|Contents|Resources|Font|Catalog|Length|"
        rb"Image|Width|Height|Widths|Columns|Colors|Filter|Predictor|Identity|Encoding|Unseen)"
        rb"(?![A-Za-z])"
    ),
    re.compile(rb"(?:(?:end)?obj|(?:end)?stream|startxref|xref|trailer)(?=[\n ])"),
    re.compile(rb"</?(?:" + "|".join(_ELEMENTS).encode() + rb")(?=[ />])"),
    re.compile(rb" (?:" + "|".join(_ATTRIBUTES).encode() + rb')(?==")'),
)


def without_own_words(document: bytes) -> bytes:
    """Return a cleaned document without the words of its format, for a search."""
    for own in _OWN_WORDS:
        document = own.sub(b" ", document)
    return document
