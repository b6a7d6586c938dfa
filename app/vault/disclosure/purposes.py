"""Why somebody asks: a code of HL7, a reference, a reason. Pure.

Source: HL7 Terminology, value set PurposeOfUse (code system ActReason). Marketing, training of
models and the other purposes that never need a name are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from app.errors import InvalidRequest

PURPOSES: Final[Mapping[str, str]] = {
    "TREAT": "treatment",
    "ETREAT": "emergency treatment",
    "BTG": "break the glass",
    "CAREMGT": "care management",
    "HPAYMT": "healthcare payment",
    "COVERAGE": "coverage under policy or program",
    "HOPERAT": "healthcare operations",
    "HQUALIMP": "health quality improvement",
    "PATSFTY": "patient safety",
    "HCOMPL": "health compliance",
    "HLEGAL": "legal",
    "HSYSADMIN": "health system administration",
    "HTEST": "test health data",
    "PATRQT": "patient requested",
    "FAMRQT": "family requested",
    "HRESCH": "healthcare research",
    "PUBHLTH": "public health",
}
BREAK_GLASS: Final = frozenset({"ETREAT", "BTG"})
REASON_CHARACTERS: Final = range(3, 201)
REFERENCE_CHARACTERS: Final = range(2, 65)
# Shorter values stand in ordinary words; they are taken out where they are the whole text.
_SHORTEST_PART: Final = 4


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why somebody asks.

    Attributes:
        code: one of `PURPOSES`.
        reference: a ticket, an order, the pseudonymous accession number.
        reason: in words; empty where there is nothing to add.
    """

    code: str
    reference: str
    reason: str = ""

    @classmethod
    def stated(cls, code: str | None, reference: str | None, reason: str | None) -> Self:
        """Take what somebody stated.

        Raises:
            InvalidRequest: code or reference are missing, or something is not fit; it says what
                to do.
        """
        known = (code or "").strip().upper()
        if known not in PURPOSES:
            raise InvalidRequest(
                "State the purpose of use as a code of HL7: TREAT, HPAYMT, HOPERAT, PATRQT, HRESCH "
                "and so on in purpose or X-Purpose-Of-Use; words go into reason"
            )
        purpose = cls(known, (reference or "").strip(), (reason or "").strip())
        if not _is_fit(purpose.reference, REFERENCE_CHARACTERS):
            raise InvalidRequest(
                "State a reference (a ticket or order, 2 to 64 printable characters) in reference "
                "or X-Reference"
            )
        if purpose.reason and not _is_fit(purpose.reason, REASON_CHARACTERS):
            raise InvalidRequest("The reason must be 3 to 200 printable characters")
        if purpose.is_break_glass and not purpose.reason:
            raise InvalidRequest("An emergency needs a reason in words, in reason or X-Reason")
        return purpose

    @property
    def is_break_glass(self) -> bool:
        """An emergency: past approval, with a notice."""
        return self.code in BREAK_GLASS

    def require_planned(self) -> None:
        """Check that this is no emergency, which is for a look at one patient alone.

        Raises:
            InvalidRequest: it is one.
        """
        if self.is_break_glass:
            raise InvalidRequest(
                "ETREAT and BTG are for a look at one patient, GET /reidentify; state another "
                "purpose"
            )

    @property
    def audited(self) -> str:
        """What the audit keeps as the purpose: the code first."""
        return f"{self.code} {self.reason}".rstrip()

    def without(self, originals: Mapping[str, str]) -> Self:
        """Return it with original values, given by what they are, taken out of its texts."""
        texts = {"reference": self.reference, "reason": self.reason}
        by_length = sorted(originals.items(), key=lambda named: -len(named[1]))
        for name, text in texts.items():
            kept = text
            for what, value in by_length:
                kept = _without(kept, value, f"[{what}]")
            texts[name] = kept
        return replace(self, **texts)


def _is_fit(text: str, characters: range) -> bool:
    return len(text) in characters and text.isprintable()


def _without(text: str, value: str, instead: str) -> str:
    if not value:
        return text
    if len(value) < _SHORTEST_PART:
        return instead if text.casefold() == value.casefold() else text
    return re.sub(re.escape(value), lambda _: instead, text, flags=re.IGNORECASE)
