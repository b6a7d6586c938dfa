"""The de-identification part of a conformance statement, for any profile, from the live tables.

Source: PS3.15 2026d, E.1.3; PS3.2 2024c, N.8.4.4 and N.11.2.6. How it is laid out is not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.deid.conformance_pixels import PIXEL_TEXTS, pixel_rows
from app.deid.conformance_rows import (
    Row,
    attribute_rows,
    content_rows,
    option_rows,
    override_rows,
    private_rows,
    rules_of,
    unlisted_rows,
)
from app.deid.linting import weaknesses
from app.deid.options import Option
from app.deid.profile_model import BurnedInPolicy, Profile, Unlisted
from app.deid.rulebook import Dates
from app.deid.standard import EDITION


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption; the first column names the row."""

    caption: str
    columns: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with paragraphs and tables."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A conformance statement."""

    title: str
    sections: tuple[Section, ...]


def statement(profile: Profile, *, gateway: str) -> Statement:
    """Return the de-identification section of a conformance statement.

    Args:
        profile: any.
        gateway: version of the program.
    """
    return Statement(
        f"De-identification with the profile {profile.name}",
        (
            _identification(profile, gateway),
            _options(profile),
            _marks(profile),
            _attributes(profile),
            *_rules(profile),
            _unlisted(profile),
            _private(profile),
            _content(profile),
            _dates(profile),
            _uids(profile),
            *_pixels(profile),
            _integrity(),
            _refused(profile),
            _limits(profile),
        ),
    )


def _identification(profile: Profile, gateway: str) -> Section:
    table = Table(
        "What this statement is about",
        ("Item", "Value"),
        (
            ("Profile", profile.name),
            ("Profile version", profile.version),
            ("Description", profile.description or "none"),
            ("Edition of the standard", f"DICOM {EDITION}"),
            ("Program", f"deid-gateway {gateway}"),
            ("Role", "de-identifier; objects are never re-identified in place"),
        ),
    )
    return Section(
        "Identification",
        (
            "The profile version is a hash of everything that decides the outcome. It stands in "
            "De-identification Method (0012,0063) of every object, so that an object can be held "
            "against this statement.",
        ),
        (table,),
    )


def _options(profile: Profile) -> Section:
    weak = weaknesses(profile.options, profile.overrides)
    claim = (
        "Rules of this profile leave more of a value than the standard does: no code of CID 7050 "
        "is claimed. The rules are: " + "; ".join(map(str, weak)) + "."
        if weak
        else "The codes of the options marked Y under 'This profile' are claimed in "
        "De-identification Method Code Sequence (0012,0064)."
    )
    table = Table(
        "Attribute Confidentiality Profiles and options (PS3.2, Table N.8-7)",
        ("Option", "PS3.15", "CID 7050", "This profile", "De-identifier", "Re-identifier"),
        tuple(option_rows(profile)),
    )
    configurable = (
        "The options are configurable: a site chooses any combination that is not contradictory, "
        "and adds rules of its own. Where two chosen options fill a cell of Table E.1-1 "
        "differently, the one that retains less decides."
    )
    return Section("Options", (claim, configurable), (table,))


def _marks(profile: Profile) -> Section:
    identity = profile.identity
    table = Table(
        "What is written at the root of every object",
        ("Attribute", "Tag", "Value"),
        (
            ("Patient's Name", "(0010,0010)", identity.patient_name or "zero length"),
            ("Patient ID", "(0010,0020)", identity.patient_id or "zero length"),
            ("Accession Number", "(0008,0050)", identity.accession_number or "zero length"),
            ("Institution Name", "(0008,0080)", _institution(profile)),
            ("Patient Identity Removed", "(0012,0062)", "YES"),
            (
                "De-identification Method",
                "(0012,0063)",
                f"appended: deid-gateway {profile.name} {profile.version}",
            ),
            (
                "De-identification Method Code Sequence",
                "(0012,0064)",
                "appended: " + (", ".join(code for code, _ in profile.method_codes) or "nothing"),
            ),
            (
                "Longitudinal Temporal Information Modified",
                "(0028,0303)",
                f"{rules_of(profile).dates}, or what an earlier de-identification left that says "
                "more was taken away",
            ),
        ),
    )
    return Section(
        "Identity and marks",
        (
            "Names in braces are filled in: the organisation's code, and keyed pseudonyms of study "
            "and patient. Preamble and File Meta Information are written anew.",
        ),
        (table,),
    )


def _institution(profile: Profile) -> str:
    if Option.INSTITUTION_IDENTITY in profile.options:
        return "as it was"
    return profile.identity.institution_name or "zero length"


def _attributes(profile: Profile) -> Section:
    table = Table(
        "De-identified elements and actions (PS3.2, Table N.11-6)",
        ("Attribute", "Tag", "VR", "Table E.1-1", "Action", "Encrypted", "Comments"),
        tuple(attribute_rows(profile)),
    )
    return Section(
        "Attributes of Table E.1-1",
        (
            "Every row is applied at every depth; a sequence's own action comes before its items. "
            "Compound codes are settled by the attribute's Type in the IOD at that path. D writes "
            "the dummy that is named, or a second one where the value is that dummy already. "
            "Whatever is kept, text is cleaned of the identifying values of the same object.",
        ),
        (table,),
    )


def _rules(profile: Profile) -> Iterator[Section]:
    if profile.overrides:
        table = Table(
            "Rules that a site added to the tables",
            ("Rule", "Target", "Action", "Place", "For"),
            tuple(override_rows(profile)),
        )
        yield Section(
            "Rules of the profile",
            ("Of two rules that fit, the more particular decides, then the later.",),
            (table,),
        )


def _unlisted(profile: Profile) -> Section:
    if profile.unlisted is Unlisted.REMOVE:
        columns = ("Attribute", "Tag", "VR", "Action", "What is left")
        caption = "Allow-list of attributes that Table E.1-1 does not name"
        said = (
            "An attribute that Table E.1-1 does not name is removed unless it is listed here, "
            "those of later editions of the standard too. Codes of coding schemes that are not "
            "public ones are replaced. Persons, dates and addresses that are listed become dummies."
        )
    else:
        columns = ("Attribute", "Tag", "VR", "Action", "Reason")
        caption = "Attributes that Table E.1-1 does not name and that are not left to their VR"
        said = (
            "An attribute that Table E.1-1 does not name is judged by its VR: persons (PN) and "
            "addresses (UR) become dummies, dates and times (DA, DT, TM) follow the dates policy, "
            "UIDs are mapped by value, sequences are entered, everything else is kept. An element "
            "that no dictionary knows, or whose VR contradicts the dictionary, is removed: so are "
            "attributes of later editions until the program knows them."
        )
    return Section(
        "Attributes that the table does not name",
        (said,),
        (Table(caption, columns, tuple(unlisted_rows(profile))),),
    )


def _private(profile: Profile) -> Section:
    rows = tuple(private_rows(profile))
    if not rows:
        return Section("Private elements", ("All private elements are removed.",))
    table = Table(
        "Private elements that are retained",
        ("Creator", "Group", "Element", "VR", "Source"),
        rows,
    )
    honoured = (
        " What Private Data Element Characteristics Sequence (0008,0300) of an object declares "
        "safe is retained as well, and what it declares unsafe is removed."
        if Option.SAFE_PRIVATE in profile.options
        else ""
    )
    return Section(
        "Private elements",
        (
            "Private elements are removed with their creators, but for those listed, in whatever "
            "block they stand." + honoured,
        ),
        (table,),
    )


def _content(profile: Profile) -> Section:
    if Option.CLEAN_STRUCTURED_CONTENT not in profile.options:
        return Section(
            "Structured content",
            ("Content Sequence (0040,A730) is replaced by one text item that tells nothing.",),
        )
    table = Table(
        "Content items of Table E.3.4-1",
        ("Concept", "Code", "Value type", "Action"),
        tuple(content_rows(profile)),
    )
    return Section(
        "Structured content",
        (
            "Content items are found by concept code, retired codes included, and never taken out "
            "of the tree. Text of concepts that are not listed "
            + (
                "is cleaned as descriptors are."
                if Option.CLEAN_DESCRIPTORS in profile.options
                else "is replaced."
            ),
        ),
        (table,),
    )


_DATES = {
    Dates.REMOVED: "Dates and times are removed, emptied or replaced by dummies as Table E.1-1 "
    "says; no interval can be told.",
    Dates.UNMODIFIED: "Dates and times that the option's column names, and dates that the table "
    "does not name, are kept as they were.",
    Dates.MODIFIED: "Dates are moved by a whole number of days that is the same for all objects of "
    "a subject and derived from a secret key: intervals stay exact, across studies and uploads. "
    "Times of day and offsets from UTC are kept.",
}


def _dates(profile: Profile) -> Section:
    return Section(
        "Dates and times",
        (
            _DATES[rules_of(profile).dates],
            "A value that is no date or time is replaced by a dummy.",
        ),
    )


def _uids(profile: Profile) -> Section:
    kept = (
        "UIDs are kept as they were."
        if rules_of(profile).keeps_uids
        else "Every instance-level UID is replaced by 2.25 followed by a 128-bit number that is "
        "derived from the value with a secret key of the organisation."
    )
    return Section(
        "UIDs",
        (
            f"{kept} UIDs of the standard (SOP Classes, transfer syntaxes, coding schemes, context "
            "groups, well-known frames of reference) are never replaced.",
        ),
    )


def _pixels(profile: Profile) -> Iterator[Section]:
    if profile.cleans_pixels:
        rows = tuple(pixel_rows(profile.pixels))
        table = Table("What this profile decides about pixels", ("Item", "Decision"), rows)
        yield Section("Clean Pixel Data", PIXEL_TEXTS, (table,))


def _integrity() -> Section:
    return Section(
        "Referential integrity and encryption",
        (
            "Replacement depends on nothing but the value, the organisation and its key: equal "
            "values give equal replacements in every object, study, upload and process, and under "
            "every profile of the organisation.",
            "Pseudonyms lead back to the originals for authorised staff only, by a sealed table "
            "outside of the objects. No Encrypted Attributes Data Set is written; one that came "
            "in is removed.",
        ),
    )


def _refused(profile: Profile) -> Section:
    video = "" if profile.cleans_pixels else "video; "
    return Section(
        "What is refused",
        (
            _burned_in(profile),
            "Refused as well: SOP Classes and transfer syntaxes that the standard "
            f"does not know; {video}DICOMDIR; objects that are cut off or contradict themselves; "
            "objects without SOP Class, SOP Instance or Study Instance UID; and every result in "
            "which a last search finds an identifying value of the original.",
        ),
    )


def _burned_in(profile: Profile) -> str:
    if profile.cleans_pixels:
        return (
            "Objects whose pixels are doubtful are held back for a review, and refused where there "
            "is none; label and overview images of slides are refused unless they are masked."
        )
    if profile.burned_in is BurnedInPolicy.REFUSE:
        return "Objects whose Burned In Annotation (0028,0301) is YES are refused."
    return (
        "Objects are passed on with uncleaned pixels where Burned In Annotation (0028,0301) is YES."
    )


def _limits(profile: Profile) -> Section:
    if profile.cleans_pixels:
        said = (
            "Clean Recognizable Visual Features is not available: a face can be reconstructed from "
            "a head scan. Text in an image that no rule covers and that is not read as text leaves "
            "with it."
        )
        return Section("What is not claimed", (said,))
    return Section(
        "What is not claimed",
        (
            "Clean Pixel Data is not among the options of this profile, and Clean Recognizable "
            "Visual Features is not available: pixel values are passed on bit-exact. Text burned "
            "into an image leaves with it unless the object declares it, and a face can be "
            "reconstructed from a head scan.",
        ),
    )
