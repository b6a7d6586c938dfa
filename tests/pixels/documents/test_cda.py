"""Clinical documents keep their structure, codes and measures; people, places and times go."""

from collections.abc import Callable

import pytest
from lxml import etree

from app.pixels.documents import Doubt, Why
from app.pixels.documents.cda import clean_cda
from tests.pixels.documents.making import PLANTED, finder

FRENCH = "pas d'\u00e9panchement"
NAMESPACES = {"c": "urn:hl7-org:v3"}
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<?xml-stylesheet type="text/xsl" href="http://kensington.example/CDA.xsl"?>'
    "<!-- Kensington -->"
)
DOCUMENT = """
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xmlns:sdtc="urn:hl7-org:sdtc" xsi:schemaLocation="urn:hl7-org:v3 CDA.xsd">
<realmCode code="US"/>
<typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
<templateId root="2.16.840.1.113883.10.20.6"/><templateId root="1.2.276.0.76.4.17" extension="KH"/>
<id root="1.2.276.0.76" extension="MRN884211-7"/>
<code code="18748-4" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"
 displayName="Diagnostic Imaging Report"/>
<title>Chest CT of Jonathan Kensington</title>
<effectiveTime value="20190329171504+0500"/>
<confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
<languageCode code="en-US"/>
<setId root="1.2" extension="7"/><versionNumber value="2"/>
<recordTarget><patientRole><id extension="MRN884211" root="1.2.3"/>
<addr><streetAddressLine>12 Elm Street</streetAddressLine><city>Townsville</city></addr>
<telecom value="tel:+1-202-555-0143"/><patient><name><given>Jonathan</given>
<family>Kensington</family></name><birthTime value="19610203"/><sdtc:raceCode code="x"/></patient>
</patientRole></recordTarget>
<author><time value="20190329"/><assignedAuthor><id extension="KP00017" root="1.2"/>
<assignedPerson><name>Vandermeer</name></assignedPerson></assignedAuthor></author>
<dataEnterer><assignedEntity><id extension="KP3"/></assignedEntity></dataEnterer>
<custodian><assignedCustodian><representedCustodianOrganization><id extension="1"/>
<name>Elmwood Hospital</name></representedCustodianOrganization></assignedCustodian></custodian>
<legalAuthenticator><time value="20190329"/></legalAuthenticator>
<componentOf><encompassingEncounter><id extension="ENC99881"/></encompassingEncounter></componentOf>
<component><structuredBody>
<component><section classCode="DOCSECT"><id extension="S1"/>
<code code="121070" codeSystem="1.2.840.10008.2.16.4" displayName="Findings"/>
<title>Findings</title>
<text ID="t1"><paragraph styleCode="Bold">Mr. <content ID="c1">Kens</content>ington was seen on
3 Feb 2019. Nodule of 8 mm &amp; no effusion.</paragraph><!-- Jonathan -->
<table border="1"><tbody><tr><td>Jonathan</td><td>50 mm</td></tr></tbody></table>
<linkHtml href="http://kensington.example">link</linkHtml>
<renderMultiMedia referencedObject="m1"/></text>
<entry typeCode="DRIV"><observation classCode="OBS" moodCode="EVN"><id root="1.2.3" extension="9"/>
<code code="246120007" codeSystem="2.16.840.1.113883.6.96" displayName="Nodule size">
<originalText><reference value="#c1"/></originalText></code>
<text><reference value="#t1"/></text><statusCode code="completed"/>
<effectiveTime value="20190329"/>
<value xsi:type="PQ" value="8.5" unit="mm"/>
<author><time value="20190101"/></author></observation></entry>
<entry><observation classCode="OBS" moodCode="EVN">
<code code="LOCAL7" codeSystem="1.2.276.0.76.3" displayName="Elmwood score"/>
<value xsi:type="ST">score of Kensington is high</value></observation></entry>
<entry><observation classCode="OBS" moodCode="EVN"><code nullFlavor="UNK"/>
<value xsi:type="TS" value="19610203"/></observation></entry>
<entry><observationMedia classCode="OBS" moodCode="EVN" ID="m1"><value mediaType="image/gif"
 representation="B64">S2Vuc2luZ3Rvbg==</value></observationMedia></entry>
</section></component></structuredBody></component></ClinicalDocument>"""
#: Texts that identify and must not be in a cleaned document, whatever their place was.
GONE = (
    *PLANTED, "Vandermeer", "Elmwood", "Townsville", "Elm Street", "555-0143", "KP00017",
    "ENC99881", "2019", "S2Vuc2", "LOCAL7", "1.2.276", ".xsl", "schemaLocation", "example",
)  # fmt: skip


def clean(document: str, head: str = HEAD) -> bytes:
    return clean_cda((head + document).encode(), finder())[0]


def found(cleaned: bytes, path: str) -> list[etree._Element]:
    result = etree.fromstring(cleaned).xpath(path, namespaces=NAMESPACES)
    return list(result)  # type: ignore[arg-type]


def test_nothing_identifying_is_left() -> None:
    cleaned = clean(DOCUMENT).decode()

    assert [word for word in GONE if word.lower() in cleaned.lower()] == []


def test_findings_codes_and_measures_stay() -> None:
    cleaned = clean(DOCUMENT)

    text = "".join(found(cleaned, "//c:text")[0].itertext())
    assert "Nodule of 8 mm & no effusion." in text
    assert "50 mm" in text
    assert found(cleaned, "//c:code[@code='246120007'][@displayName='Nodule size']")
    assert found(cleaned, "//c:value[@value='8.5'][@unit='mm']")
    assert found(cleaned, "/c:ClinicalDocument/c:code[@code='18748-4']")


def test_what_every_document_has_is_still_there_and_masked() -> None:
    cleaned = clean(DOCUMENT)

    order = [etree.QName(child).localname for child in etree.fromstring(cleaned)]
    assert order == [
        "realmCode", "typeId", "templateId", "id", "code", "title", "effectiveTime",
        "confidentialityCode", "languageCode", "setId", "versionNumber", "recordTarget", "author",
        "custodian", "component",
    ]  # fmt: skip
    assert found(cleaned, "/c:ClinicalDocument/c:id[@nullFlavor='MSK'][count(@*)=1]")
    assert found(cleaned, "//c:patientRole/c:id[@nullFlavor='MSK']")
    assert found(cleaned, "/c:ClinicalDocument/c:effectiveTime[@nullFlavor='MSK'][count(@*)=1]")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('unit="mm"', 'unit="Vandermeer"'),
        ('unit="mm"', 'unit="{Vandermeer}"'),
        ('unit="mm"', 'unit="mm{Vandermeer}/s"'),
        ('<statusCode code="completed"', '<statusCode code="Vandermeer"'),
        ('code="en-US"', 'code="Vandermeer"'),
        ('<realmCode code="US"', '<realmCode code="Vandermeer"'),
        ('classCode="DOCSECT"', 'classCode="VANDERMEER"'),
        ('code="246120007"', 'code="Vandermeer"'),
    ],
)
def test_a_name_in_the_place_of_a_word_of_the_format_is_gone(before: str, after: str) -> None:
    assert before in DOCUMENT

    assert b"vandermeer" not in clean(DOCUMENT.replace(before, after, 1)).lower()


@pytest.mark.parametrize(
    ("unit", "kept"),
    [("mm[Hg]", "mm[Hg]"), ("{beats}/min", "1/min"), ("10*3/uL", "10*3/uL"), ("ms{R}", "ms")],
)
def test_units_stay_without_their_annotations(unit: str, kept: str) -> None:
    cleaned = clean(DOCUMENT.replace('unit="mm"', f'unit="{unit}"', 1))

    assert found(cleaned, f"//c:value[@value='8.5'][@unit=\"{kept}\"]")


def test_a_type_that_is_no_type_makes_a_document_doubtful() -> None:
    with pytest.raises(Doubt):
        clean(DOCUMENT.replace('xsi:type="PQ"', 'xsi:type="KENS_INGT"', 1))


def test_comments_and_instructions_are_gone() -> None:
    cleaned = clean(DOCUMENT)

    assert b"<!--" not in cleaned
    assert cleaned.count(b"<?") == 1


def test_the_same_document_gives_the_same_even_number_of_bytes() -> None:
    assert clean(DOCUMENT) == clean(DOCUMENT)
    assert len(clean(DOCUMENT)) % 2 == 0
    assert len(clean(DOCUMENT + " ")) % 2 == 0


def test_a_name_in_capital_letters_spread_over_elements_is_gone() -> None:
    narrative = "<content>KEN</content><content>SINGTON</content> is well"

    cleaned = clean(DOCUMENT.replace("<linkHtml", f"<paragraph>{narrative}</paragraph><linkHtml"))

    assert b"SINGTON" not in cleaned
    assert b"is well" in cleaned


def test_attributes_of_layout_hold_words_of_layout_only() -> None:
    told = '<paragraph styleCode="Vandermeer" align="Elmwood">x</paragraph>'
    usual = '<td align="center" colspan="2">y</td>'

    cleaned = clean(DOCUMENT.replace("<linkHtml", told + usual + "<linkHtml"))

    assert b"Vandermeer" not in cleaned
    assert b"Elmwood" not in cleaned
    assert usual.encode() in cleaned


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_a_document_may_have_another_encoding(encoding: str) -> None:
    document = f'<?xml version="1.0" encoding="{encoding}"?>{DOCUMENT.replace("no eff", FRENCH)}'
    data = document.encode(encoding, "xmlcharrefreplace")

    cleaned, _ = clean_cda(data, finder())

    assert f"{FRENCH}usion" in cleaned.decode()


def entity(document: str) -> str:
    return '<!DOCTYPE a [<!ENTITY e "x">]>' + document


def external(document: str) -> str:
    return '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + document


def unknown_in_header(document: str) -> str:
    return document.replace("<realmCode", "<patientNote>x</patientNote><realmCode")


def unknown_in_body(document: str) -> str:
    return document.replace("<statusCode", "<nickname>x</nickname><statusCode")


def unknown_in_narrative(document: str) -> str:
    return document.replace("<linkHtml", "<marquee>x</marquee><linkHtml")


def unknown_attribute(document: str) -> str:
    return document.replace("<statusCode ", '<statusCode note="x" ')


def text_between_elements(document: str) -> str:
    return document.replace("<entry typeCode", "Vandermeer<entry typeCode")


def deep(document: str) -> str:
    return document.replace("<linkHtml", "<content>" * 200 + "</content>" * 200 + "<linkHtml")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (entity, Why.UNKNOWN_CONTENT),
        (external, Why.UNKNOWN_CONTENT),
        (unknown_in_header, Why.UNKNOWN_CONTENT),
        (unknown_in_body, Why.UNKNOWN_CONTENT),
        (unknown_in_narrative, Why.UNKNOWN_CONTENT),
        (unknown_attribute, Why.UNKNOWN_CONTENT),
        (text_between_elements, Why.UNKNOWN_CONTENT),
        (deep, Why.TOO_LARGE),
        (lambda document: document[:-30], Why.BROKEN),
        (lambda _: "<html><body/></html>", Why.CONTRADICTORY),
        (lambda document: document.replace("urn:hl7-org:v3", "urn:other"), Why.CONTRADICTORY),
    ],
    ids=[
        "entity", "external-subset", "in-header", "in-body", "in-narrative", "attribute", "text",
        "deep", "cut-off", "other-root", "other-namespace",
    ],
)  # fmt: skip
def test_what_no_rule_covers_makes_a_document_doubtful(
    change: Callable[[str], str], why: Why
) -> None:
    with pytest.raises(Doubt) as doubt:
        clean(change(DOCUMENT), head="")

    assert doubt.value.why is why


def test_a_document_that_only_wraps_another_one_is_doubtful() -> None:
    start, stop = DOCUMENT.index("<component><str"), DOCUMENT.rindex("</ClinicalDocument>")
    wrapped = '<component><nonXMLBody><text mediaType="application/pdf">JVB</text></nonXMLBody>'

    with pytest.raises(Doubt) as doubt:
        clean(DOCUMENT[:start] + wrapped + "</component>" + DOCUMENT[stop:])

    assert doubt.value.why is Why.EMPTY
