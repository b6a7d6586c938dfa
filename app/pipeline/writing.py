"""The data set of one instance, applied and verified: the last steps before it is laid out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.deid.applying import Applier
from app.deid.attributes import CHARACTER_SET
from app.deid.collecting import gather
from app.deid.element_writing import Cleaners
from app.deid.planning import Place, Remark, kept_text
from app.deid.private import View
from app.deid.rules.text import DescriptorCleaner, Recognizer, TextCleaner
from app.deid.searching import SEPARATOR, compile_search
from app.deid.substitutes import Fact, Findings, Originals, Substitutes
from app.deid.verifying import Texts, verify
from app.dicom.elements import tag_text
from app.errors import ResidualIdentifier
from app.pipeline.root import RootValues


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance with what is decided where.

    Attributes:
        root: its values.
        place, tail_place: before and behind the pixel value.
        view, tail_view: what rules see of the instance there.
    """

    root: RootValues
    place: Place
    tail_place: Place
    view: View
    tail_view: View


class Writer:
    """Writes the data set of one instance.

    Args:
        placed: the instance.
        recognize: finds persons and places in text that is cleaned.
        warnings: takes what the receiver should know.

    Attributes:
        originals: what must not be in the result, once that is known.
    """

    def __init__(
        self, placed: Placed, recognize: Recognizer | None, warnings: list[Remark]
    ) -> None:
        self.root, self.tokens = placed.root, placed.root.tokens
        self.place, self.tail_place = placed.place, placed.tail_place
        self.view, self.tail_view = placed.view, placed.tail_view
        self.warnings = warnings
        self.originals: Originals | None = None
        self._recognize = recognize

    def verified(self, substitutes: Substitutes) -> tuple[bytes, bytes]:
        """Return the data set before and behind the pixel value, applied and verified.

        Kept text is looked at word by word only where a first search finds something in it.
        """
        described = self._descriptor_cleaner()
        made = self._applied(substitutes, Cleaners(described=described))
        self.originals = originals = made.findings.originals()
        if not self._is_clean(made, originals, substitutes):
            findings = made.findings
            uids = frozenset(findings.uids)
            cleaners = Cleaners(
                kept=TextCleaner(findings.identifiers(), uids),
                retained=TextCleaner(findings.other_identifiers(), uids),
                described=described,
            )
            substitutes = replace(substitutes, declared_charset=self._missing_charset())
            made = self._applied(substitutes, cleaners)
            self._verify(made, originals, self._own(substitutes))
        self.warnings += made.findings.warnings
        return made.header, made.tail

    def _descriptor_cleaner(self) -> DescriptorCleaner | None:
        """Return what cleans descriptors: it has to know every identifying value beforehand."""
        if not self.place.rules.cleans_text:
            return None
        return DescriptorCleaner(self.gathered().identifiers(), self._recognize)

    def gathered(self) -> Findings:
        """Return the identifying values of the whole instance, before anything is written."""
        findings, tokens = Findings(), self.tokens
        gather(findings, self.view, tokens.root, self.place)
        if tokens.tail is not None:
            gather(
                findings,
                self.tail_view,
                tokens.tail,
                self.tail_place,
                self.root.charset,
            )
        return findings

    def _is_clean(self, made: "_Applied", originals: Originals, substitutes: Substitutes) -> bool:
        try:
            texts = self._verify(made, originals, self._own(substitutes))
        except ResidualIdentifier:
            return False
        if not (texts.free.isascii() and texts.retained.isascii()):
            return False
        return not (
            compile_search(originals.values).suspects(texts.free)
            or (texts.retained and compile_search(originals.others).suspects(texts.retained))
        )

    def _applied(self, substitutes: Substitutes, cleaners: Cleaners) -> "_Applied":
        tokens = self.tokens
        applier = Applier(self.view, substitutes, cleaners)
        header = applier.write(tokens.root, self.place)
        if tokens.tail is None:
            return _Applied(header, b"", applier.findings)
        behind = Applier(self.tail_view, substitutes, cleaners, charset=self.root.charset)
        tail = behind.write(tokens.tail, self.tail_place)
        applier.findings.add(behind.findings)
        return _Applied(header, tail, applier.findings)

    def _own(self, substitutes: Substitutes) -> frozenset[bytes]:
        """Return the texts that the gateway itself writes; they are no residue."""
        texts = [*substitutes.identity.values(), substitutes.method, "DCM"]
        texts += [text for code in substitutes.codes for text in code]
        texts += self.place.rules.replacements
        facts = [part for fact in substitutes.facts.values() for part in _parts(fact)]
        return frozenset([text.encode() for text in texts] + facts)

    def _verify(self, made: "_Applied", originals: Originals, own: frozenset[bytes]) -> Texts:
        explicit, rules = self.tokens.root.explicit, self.place.rules
        parts = [
            verify(
                data,
                explicit=explicit,
                originals=originals,
                own=own,
                rules=rules,
                declared=self.view.declared,
            )
            for data in filter(None, (made.header, made.tail))
        ]
        return Texts(
            SEPARATOR.join([part.free for part in parts]),
            SEPARATOR.join([part.retained for part in parts]),
        )

    def _missing_charset(self) -> str:
        """Return a Specific Character Set for text that came without one, if it needs it.

        Bytes beyond ASCII in a text without declaration are nearly always UTF-8 or Latin-1.
        """
        if CHARACTER_SET in self.root.places:
            return ""
        text = b"".join(kept_text(self.view, self.tokens.root, self.place))
        if text.isascii():
            return ""
        self.warnings.append(Remark("character-set-declared", tag_text(CHARACTER_SET)))
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            return "ISO_IR 100"
        return "ISO_IR 192"


@dataclass(frozen=True, slots=True, repr=False)
class _Applied:
    """The data set before and behind the pixel value, and what was met while writing it."""

    header: bytes
    tail: bytes
    findings: Findings


def _parts(fact: Fact) -> Iterator[bytes]:
    """Yield the texts of a fact, as they stand in elements; a sequence has several."""
    for line in fact.value.split(b"\n") if fact.vr == "SQ" else (fact.value,):
        yield from line.split(b"\0") if fact.vr == "SQ" else (line.rstrip(b"\0 "),)
