"""PDFs with everything in them that must not survive. Nothing here is anybody's."""

import io
import zlib
from collections.abc import Callable, Sequence

import pikepdf
from pikepdf import Array, Dictionary, Name, Stream, String
from PIL import Image, ImageDraw, ImageFont

from app.deid.rules.identifiers import Identifier, Kind
from app.pixels.documents.finding import Finder

NAME, BIRTH, PATIENT_ID = "Kensington^Jonathan", "19610203", "MRN884211"
IDENTIFIERS = (
    Identifier(Kind.NAME, NAME),
    Identifier(Kind.BIRTH_DATE, BIRTH),
    Identifier(Kind.ID, PATIENT_ID),
)
#: What no cleaned document may hold in any form.
PLANTED = ("Kensington", "Jonathan", "884211", "19610203", "1961-02-03", "03.02.1961")
WIDTH, HEIGHT = 595, 842


def finder() -> Finder:
    return Finder(IDENTIFIERS)


def never() -> None:
    """A clock that never runs out."""


def shown(x: int, y: int, text: str, size: int = 12, *, before: str = "") -> bytes:
    return f"q {before} BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET Q\n".encode("latin-1")


class Paper:
    """A PDF under construction with one page of text."""

    def __init__(self, *lines: str) -> None:
        self.pdf = pikepdf.new()
        self.font = self.pdf.make_indirect(
            Dictionary(
                Type=Name.Font,
                Subtype=Name.Type1,
                BaseFont=Name.Helvetica,
                Encoding=Name.WinAnsiEncoding,
            )
        )
        if lines:
            self.page(b"".join(shown(72, 760 - 24 * n, line) for n, line in enumerate(lines)))

    def page(self, content: bytes, **resources: object) -> pikepdf.Page:
        self.pdf.add_blank_page(page_size=(WIDTH, HEIGHT))
        page = self.pdf.pages[-1]
        page.Contents = self.pdf.make_stream(content)
        page.Resources = Dictionary(Font=Dictionary(F1=self.font), **resources)
        return page

    def image_page(self, image: Image.Image) -> pikepdf.Page:
        return self.page(b"q 400 0 0 200 72 500 cm /Im0 Do Q", XObject=self.images(image))

    def images(self, image: Image.Image) -> Dictionary:
        pixels = image.convert("L")
        stream = Stream(self.pdf, zlib.compress(pixels.tobytes()))
        stream.update(
            Dictionary(
                Type=Name.XObject,
                Subtype=Name.Image,
                Width=pixels.width,
                Height=pixels.height,
                ColorSpace=Name.DeviceGray,
                BitsPerComponent=8,
                Filter=Name.FlateDecode,
            )
        )
        return Dictionary(Im0=self.pdf.make_indirect(stream))

    def data(self, **saving: object) -> bytes:
        out = io.BytesIO()
        self.pdf.save(out, **saving)  # type: ignore[arg-type]
        return out.getvalue()


def picture_of(*lines: str, size: int = 30, ink: int = 0) -> Image.Image:
    image = Image.new("L", (800, 400), 255)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 60 * number), line, fill=ink, font=font)
    return image


def with_annotation() -> bytes:
    paper = Paper("Findings: normal liver.")
    note = Dictionary(
        Type=Name.Annot,
        Subtype=Name.FreeText,
        Rect=Array([100, 300, 400, 330]),
        Contents=String("Jonathan Kensington"),
        DA=String("/Helv 12 Tf 0 g"),
        T=String("Kensington"),
    )
    paper.pdf.pages[0].Annots = paper.pdf.make_indirect(Array([paper.pdf.make_indirect(note)]))
    return paper.data()


def with_attachment() -> bytes:
    paper = Paper("Findings: normal liver.")
    paper.pdf.attachments["kensington.txt"] = b"Jonathan Kensington, MRN884211"
    return paper.data()


def with_form() -> bytes:
    paper = Paper("Findings: normal liver.")
    field = paper.pdf.make_indirect(
        Dictionary(
            Type=Name.Annot,
            Subtype=Name.Widget,
            FT=Name.Tx,
            T=String("patient"),
            V=String("Jonathan Kensington"),
            Rect=Array([100, 300, 400, 330]),
        )
    )
    paper.pdf.pages[0].Annots = Array([field])
    paper.pdf.Root.AcroForm = Dictionary(Fields=Array([field]), NeedAppearances=True)
    return paper.data()


def with_metadata() -> bytes:
    paper = Paper("Findings: normal liver.")
    with paper.pdf.open_metadata() as xmp:
        xmp["dc:title"] = "Jonathan Kensington"
        xmp["dc:creator"] = ["Kensington"]
    paper.pdf.docinfo["/Author"] = "Jonathan Kensington"
    paper.pdf.Root.OpenAction = Dictionary(S=Name.JavaScript, JS=String("app.alert('Kensington')"))
    paper.pdf.Root.Names = Dictionary(
        JavaScript=Dictionary(
            Names=Array(
                [String("a"), Dictionary(S=Name.JavaScript, JS=String("var a='Kensington'"))]
            )
        )
    )
    with paper.pdf.open_outline() as outline:
        outline.root.append(pikepdf.OutlineItem("Kensington", 0))
    return paper.data()


def with_older_revision() -> bytes:
    """Return a document whose first revision, still in the file, names the patient."""
    first = Paper("Patient Jonathan Kensington").data(compress_streams=False)
    content = b"".join([shown(72, 760, "Findings: normal liver.")])
    with pikepdf.open(io.BytesIO(first)) as pdf:
        number = pdf.pages[0].Contents.objgen[0]
        count = len(pdf.objects) + 1
        root = pdf.Root.objgen[0]
    start = len(first)
    update = b"%d 0 obj\n<< /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (
        number,
        len(content),
        content,
    )
    table = start + len(update)
    previous = first.rindex(b"startxref")
    before = int(first[previous + 9 :].split()[0])
    trailer = b"xref\n%d 1\n%010d 00000 n \ntrailer\n<< /Size %d /Root %d 0 R /Prev %d >>\n" % (
        number,
        start,
        count,
        root,
        before,
    )
    return first + update + trailer + b"startxref\n%d\n%%%%EOF\n" % table


def with_hidden_layer() -> bytes:
    """Return a page with a layer that is off; the person on it is named nowhere else."""
    paper = Paper()
    layer = paper.pdf.make_indirect(Dictionary(Type=Name.OCG, Name=String("Notes of Vandermeer")))
    paper.page(
        shown(72, 760, "Findings: normal liver.")
        + b"/OC /L0 BDC\n"
        + shown(72, 700, "Seen with Vandermeer")
        + b"EMC\n",
        Properties=Dictionary(L0=layer),
    )
    paper.pdf.Root.OCProperties = Dictionary(
        OCGs=Array([layer]), D=Dictionary(OFF=Array([layer]), Order=Array([layer]))
    )
    return paper.data()


def with_white_text() -> bytes:
    paper = Paper()
    paper.page(
        shown(72, 760, "Findings: normal liver.")
        + shown(72, 700, "Vandermeer", before="1 1 1 rg")
        + shown(72, 650, "Vandermeer", before="3 Tr")
    )
    return paper.data()


def encrypted(user: str = "", owner: str = "secret") -> bytes:
    return Paper("Findings: normal liver.").data(
        encryption=pikepdf.Encryption(user=user, owner=owner)
    )


def texts(data: bytes) -> str:
    """Return the text of a document as a reader would copy it."""
    import pypdfium2 as pdfium  # noqa: PLC0415 - the tests of models need no library

    document = pdfium.PdfDocument(data)
    try:
        return "\n".join(page.get_textpage().get_text_range() for page in document)
    finally:
        document.close()


def everything_in(data: bytes) -> bytes:
    """Return a document's bytes with those of every stream behind them, decompressed."""
    with pikepdf.open(io.BytesIO(data)) as pdf:
        streams = [item.read_bytes() for item in pdf.objects if isinstance(item, pikepdf.Stream)]
    return b"\n".join([data, *streams])


def holds(data: bytes, words: Sequence[str], fold: Callable[[bytes], bytes] = bytes.lower) -> bool:
    inside = fold(everything_in(data))
    return any(
        fold(word.encode(codec)) in inside
        for word in words
        for codec in ("latin-1", "utf-16-be", "utf-16-le")
    )
