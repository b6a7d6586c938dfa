"""PDFs are made anew: what identifies is gone, everything else is seen as before."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pikepdf
import pypdfium2 as pdfium
import pytest

from app.pixels.documents import Doubt, Why
from app.pixels.documents.pdf import Line, clean_pdf
from app.pixels.documents.pdf_pages import Raster, measures_of, raster_of
from app.pixels.model import Box
from tests.pixels.documents import making
from tests.pixels.documents.making import PLANTED, Paper, finder, holds, never, picture_of, texts

REPORT = (
    "Patient: Jonathan Kensington",
    "Born 03.02.1961, MRN-884211",
    "Findings: normal liver, nodule of 8 mm.",
)


def clean(data: bytes, reader: object = None) -> bytes:
    return clean_pdf(data, finder(), reader, never).data  # type: ignore[arg-type]


def reads_nothing(_raster: Raster) -> Sequence[Line]:
    return ()


def rendered(data: bytes, page: int = 0) -> Raster:
    document = pdfium.PdfDocument(data)
    try:
        opened = document[page]
        return raster_of(opened, measures_of(opened))
    finally:
        document.close()


def image_of(data: bytes, page: int = 0) -> Raster:
    """Return the page image that was written, without rendering anything."""
    with pikepdf.open(io.BytesIO(data)) as pdf:
        image = pikepdf.PdfImage(pdf.pages[page].Resources.XObject.Im).as_pil_image()
        return np.asarray(image.convert("RGB"))


def test_identifying_words_are_gone_and_the_others_can_be_searched() -> None:
    cleaned = clean(Paper(*REPORT).data())

    assert not holds(cleaned, PLANTED)
    assert "normal liver" in texts(cleaned)
    assert "8 mm" in texts(cleaned)


def test_pixels_outside_of_what_was_painted_over_are_as_they_were_rendered() -> None:
    original = Paper(*REPORT).data()

    before, after = rendered(original), image_of(clean(original))

    changed = (before != after).any(axis=2)
    assert changed.any()
    assert not after[changed].any()
    findings = before.shape[0] * (842 - 725) // 842
    assert np.array_equal(before[findings:], after[findings:])


def test_nothing_of_a_name_is_seen_in_the_picture() -> None:
    before = rendered(Paper("Kensington").data())

    after = image_of(clean(Paper("Kensington").data()))

    ink = (before != 255).any(axis=2)
    assert ink.any()
    assert not after[ink].any()


def test_a_document_without_anything_identifying_looks_the_same() -> None:
    original = Paper("Findings: normal liver.").data()

    assert np.array_equal(rendered(original), image_of(clean(original)))


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (making.with_annotation, "annotation"),
        (making.with_attachment, "attachment"),
        (making.with_form, "form"),
        (making.with_metadata, "metadata"),
    ],
    ids=["annotation", "attachment", "form", "metadata"],
)
def test_what_a_document_carries_beside_its_pages_is_gone(
    build: Callable[[], bytes], kind: str
) -> None:
    original = build()
    assert holds(original, PLANTED)

    made = clean_pdf(original, finder(), reads_nothing, never)

    assert not holds(made.data, PLANTED)
    assert kind in made.findings
    assert "normal liver" in texts(made.data)


def test_a_document_is_made_of_pages_images_and_fonts_only() -> None:
    with pikepdf.open(io.BytesIO(clean(making.with_metadata()))) as pdf:
        assert set(pdf.Root.keys()) == {"/Type", "/Pages"}
        assert set(pdf.trailer.keys()) == {"/Size", "/Root"}
        assert set(pdf.pages[0].keys()) == {
            "/Type", "/Parent", "/MediaBox", "/Contents", "/Resources",
        }  # fmt: skip
        assert not pdf.attachments


def test_an_older_revision_is_gone() -> None:
    original = making.with_older_revision()
    assert holds(original, ["Kensington"])
    assert "normal liver" in texts(original)

    cleaned = clean(original)

    assert not holds(cleaned, PLANTED)
    assert "normal liver" in texts(cleaned)


@pytest.mark.parametrize(
    "build", [making.with_hidden_layer, making.with_white_text], ids=["layer-off", "white"]
)
def test_text_that_nobody_sees_is_gone(build: Callable[[], bytes]) -> None:
    original = build()
    assert holds(original, ["Vandermeer"])

    cleaned = clean(original, reads_nothing)

    assert not holds(cleaned, ["Vandermeer"])
    assert "normal liver" in texts(cleaned)


def test_a_name_divided_at_the_end_of_a_line_is_gone() -> None:
    cleaned = clean(Paper("The findings of Kensing-", "ton are normal.").data())

    assert "Kensing" not in texts(cleaned)
    assert "are normal" in texts(cleaned)


def test_a_name_in_ligatures_or_other_letters_is_gone() -> None:
    paper = Paper("Kensington, Jonathan", "KENSINGTON", "K e n s i n g t o n liver")

    assert not holds(clean(paper.data()), PLANTED)


def test_a_name_beside_its_label_that_is_stored_elsewhere_is_gone() -> None:
    paper = Paper()
    paper.page(
        making.shown(72, 700, "Physician:")
        + making.shown(72, 600, "Normal liver.")
        + making.shown(160, 700, "Vandermeer")
    )

    assert "Vandermeer" not in texts(clean(paper.data()))


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_is_painted_over_in_the_right_place(turn: int) -> None:
    paper = Paper("Kensington", "Normal liver")
    paper.pdf.pages[0].Rotate = turn
    original = paper.data()

    before, after = rendered(original), image_of(clean(original))

    changed = (before != after).any(axis=2)
    assert changed.any()
    assert {"Normal", "liver"} == set(texts(clean(original)).split())


def test_a_cropped_page_is_painted_over_in_the_right_place() -> None:
    paper = Paper("Kensington")
    paper.pdf.pages[0].CropBox = pikepdf.Array([50, 600, 400, 842])
    original = paper.data()
    ink = (rendered(original) != 255).any(axis=2)

    after = image_of(clean(original))

    assert ink.any()
    assert not after[ink].any()


def test_the_same_document_gives_the_same_even_number_of_bytes() -> None:
    original = Paper(*REPORT).data()

    first, second = clean(original), clean(original)

    assert first == second
    assert len(first) % 2 == 0


@pytest.mark.parametrize("user", ["", "open"], ids=["without-password", "with-password"])
def test_an_encrypted_document_is_doubtful(user: str) -> None:
    with pytest.raises(Doubt) as doubt:
        clean(making.encrypted(user=user))

    assert doubt.value.why is Why.ENCRYPTED


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"%PDF-1.4\nnothing of a document", Why.BROKEN),
        (b"PK\x03\x04 a spreadsheet", Why.CONTRADICTORY),
        (b"\xff\xd8\xff\xe0 an image", Why.CONTRADICTORY),
    ],
    ids=["broken", "archive", "image"],
)
def test_what_is_no_readable_pdf_is_doubtful(data: bytes, why: Why) -> None:
    with pytest.raises(Doubt) as doubt:
        clean(data)

    assert doubt.value.why is why


def test_a_document_with_too_many_pages_is_doubtful() -> None:
    paper = Paper("liver")
    for _ in range(200):
        paper.pdf.pages.append(paper.pdf.pages[0])

    with pytest.raises(Doubt) as doubt:
        clean(paper.data())

    assert doubt.value.why is Why.TOO_LARGE


def test_a_page_as_large_as_a_field_is_doubtful() -> None:
    paper = Paper("liver")
    paper.pdf.pages[0].MediaBox = pikepdf.Array([0, 0, 14000, 14000])

    with pytest.raises(Doubt) as doubt:
        clean(paper.data())

    assert doubt.value.why is Why.TOO_LARGE


def test_a_document_that_takes_too_long_is_doubtful() -> None:
    def over() -> None:
        raise Doubt(Why.TOO_SLOW)

    with pytest.raises(Doubt) as doubt:
        clean_pdf(Paper("liver").data(), finder(), None, over)

    assert doubt.value.why is Why.TOO_SLOW


def drawn_letters() -> bytes:
    """Return a page with letters that are curves, beside some text."""
    paper = Paper()
    paper.page(making.shown(72, 760, "Normal liver.") + b"72 600 m 90 640 120 640 140 600 c S\n")
    return paper.data()


def seven_segments() -> bytes:
    paper = Paper()
    paper.page(making.shown(72, 760, "Normal liver.") + b"72 600 m 72 612 l 80 612 l S\n")
    return paper.data()


def type_3() -> bytes:
    paper = Paper()
    glyph = paper.pdf.make_stream(b"500 0 d0 0 0 400 700 re f")
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font,
        Subtype=pikepdf.Name.Type3,
        FontBBox=pikepdf.Array([0, 0, 1000, 1000]),
        FontMatrix=pikepdf.Array([0.001, 0, 0, 0.001, 0, 0]),
        CharProcs=pikepdf.Dictionary(a=glyph),
        Encoding=pikepdf.Dictionary(Differences=pikepdf.Array([97, pikepdf.Name.a])),
        FirstChar=97,
        LastChar=97,
        Widths=pikepdf.Array([500]),
        Resources=pikepdf.Dictionary(),
    )
    paper.font = paper.pdf.make_indirect(font)
    paper.page(making.shown(72, 700, "aaa"))
    return paper.data()


def pattern_of_letters() -> bytes:
    paper = Paper()
    pattern = paper.pdf.make_stream(b"BT /F1 9 Tf 1 1 Td (Vandermeer) Tj ET")
    pattern.update(
        pikepdf.Dictionary(
            Type=pikepdf.Name.Pattern,
            PatternType=1,
            PaintType=1,
            TilingType=1,
            BBox=pikepdf.Array([0, 0, 60, 12]),
            XStep=60,
            YStep=12,
            Resources=pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=paper.font)),
        )
    )
    paper.page(
        making.shown(72, 760, "Normal liver.") + b"/Pattern cs /P1 scn 72 300 300 300 re f\n",
        Pattern=pikepdf.Dictionary(P1=paper.pdf.make_indirect(pattern)),
    )
    return paper.data()


def picture_page() -> bytes:
    paper = Paper("Normal liver.")
    paper.image_page(picture_of("Vandermeer"))
    return paper.data()


@pytest.mark.parametrize(
    "build",
    [drawn_letters, seven_segments, type_3, pattern_of_letters, picture_page],
    ids=["curves", "strokes", "type-3", "pattern", "picture"],
)
def test_a_page_that_shows_more_than_its_text_layer_tells_has_to_be_read(
    build: Callable[[], bytes],
) -> None:
    with pytest.raises(Doubt) as doubt:
        clean(build())

    assert doubt.value.why is Why.NOT_READ


def test_a_table_with_rules_and_shaded_rows_needs_no_reading() -> None:
    paper = Paper()
    paper.page(
        b"0.9 g 72 690 400 20 re f 0 g 72 720 m 472 720 l S 72 640 m 72 720 l S 1 w "
        b"72 640 400 80 re S\n" + making.shown(76, 696, "Normal liver.")
    )

    assert "Normal liver" in texts(clean(paper.data()))


class Scripted:
    """A reader that says what it was told to say of a page, and nothing of a part of it."""

    def __init__(self, *lines: Line) -> None:
        self.lines = lines

    def __call__(self, raster: Raster) -> Sequence[Line]:
        is_whole_page = raster.shape[0] > WHOLE_PAGE
        return self.lines if is_whole_page else ()


WHOLE_PAGE = 1000
_PLACE = Box(160, 440, 700, 560)


def test_unknown_text_in_a_picture_is_painted_over() -> None:
    paper = Paper("Normal liver.")
    paper.image_page(picture_of("Vandermeer"))
    reader = Scripted(Line(_PLACE, "Vandermeer", is_identifying=False, is_harmless=False))

    made = clean_pdf(paper.data(), finder(), reader, never)

    after = image_of(made.data, 1)
    assert not after[_PLACE.top : _PLACE.bottom, _PLACE.left : _PLACE.right].any()
    assert "picture" in made.findings


def test_harmless_text_in_a_picture_stays() -> None:
    paper = Paper()
    paper.image_page(picture_of("50 mm"))
    reader = Scripted(Line(_PLACE, "50 mm", is_identifying=False, is_harmless=True))

    made = clean_pdf(paper.data(), finder(), reader, never)

    assert np.array_equal(rendered(paper.data()), image_of(made.data))
    assert "picture" not in made.findings


def test_a_picture_in_which_nothing_is_read_is_doubtful() -> None:
    paper = Paper()
    paper.image_page(picture_of("~~~"))

    with pytest.raises(Doubt) as doubt:
        clean(paper.data(), reads_nothing)

    assert doubt.value.why is Why.NOT_READ


def test_an_empty_page_stays_empty() -> None:
    paper = Paper("Normal liver.")
    paper.page(b"")

    made = clean_pdf(paper.data(), finder(), reads_nothing, never)

    assert made.pages == 2
    assert (image_of(made.data, 1) == 255).all()


def test_words_that_the_text_layer_vouches_for_stay() -> None:
    original = Paper("Zirkulation regelrecht").data()
    reader = Scripted(Line(Box(140, 130, 500, 180), "Zirku1ation regelrecht", False, False))

    made = clean_pdf(original, finder(), reader, never)

    assert np.array_equal(rendered(original), image_of(made.data))


def test_words_are_not_vouched_for_by_a_text_layer_that_says_something_else() -> None:
    original = Paper("xqzw vbnm").data()
    reader = Scripted(Line(Box(140, 130, 500, 180), "Vandermeer", False, False))

    made = clean_pdf(original, finder(), reader, never)

    assert not np.array_equal(rendered(original), image_of(made.data))
    assert "xqzw" not in texts(made.data)


def test_letters_here_and_there_are_no_word() -> None:
    original = Paper("my elder uncle in Rome").data()
    reader = Scripted(Line(Box(140, 130, 500, 180), "Meyer", False, False))

    made = clean_pdf(original, finder(), reader, never)

    assert "elder" not in texts(made.data)


def test_a_reader_that_always_finds_something_makes_the_document_doubtful() -> None:
    def sees_it_always(_raster: Raster) -> Sequence[Line]:
        return [Line(Box(10, 10, 50, 50), "Kensington", is_identifying=True, is_harmless=False)]

    with pytest.raises(Doubt) as doubt:
        clean(Paper("liver").data(), sees_it_always)

    assert doubt.value.why is Why.RESIDUE


def test_other_scripts_stay_searchable() -> None:
    from app.pixels.documents.pdf_pages import Measures, Word  # noqa: PLC0415
    from app.pixels.documents.pdf_writing import PdfWriter  # noqa: PLC0415

    writer = PdfWriter()
    page = np.full((200, 200, 3), 255, dtype=np.uint8)
    upper, lower = Box(10, 10, 100, 30), Box(10, 50, 100, 70)
    words = [Word("печень", upper, upper), Word("(leber)\\", lower, lower)]
    writer.add(page, Measures(100, 100, 2.0), words)

    found = texts(writer.document())

    assert "печень" in found
    assert "(leber)\\" in found
