"""What may be in a clinical document, and what becomes of it.

A document holds elements of these names only; whatever else there is makes it one that is
replaced. Source: HL7 CDA Release 2 (CDA.xsd, NarrativeBlock.xsd, POCD_MT000040).
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Namespace of every element here.
CDA_NAMESPACE: Final = "urn:hl7-org:v3"
#: Children of the document itself: kept, cleaned inside.
HEADER_KEPT: Final = _words(
    "realmCode typeId templateId id code title effectiveTime confidentialityCode languageCode "
    "setId versionNumber component"
)
#: Children of the document that name people, places and other documents. Those that every document
#: has leave a masked stand-in, the others go.
HEADER_MASKED: Final = {
    "recordTarget": (
        '<recordTarget><patientRole><id nullFlavor="MSK"/></patientRole></recordTarget>'
    ),
    "author": (
        '<author><time nullFlavor="MSK"/><assignedAuthor><id nullFlavor="MSK"/></assignedAuthor>'
        "</author>"
    ),
    "custodian": (
        "<custodian><assignedCustodian><representedCustodianOrganization>"
        '<id nullFlavor="MSK"/></representedCustodianOrganization></assignedCustodian></custodian>'
    ),
}
HEADER_REMOVED: Final = _words(
    "copyTime dataEnterer informant informationRecipient legalAuthenticator authenticator "
    "participant inFulfillmentOf documentationOf relatedDocument authorization componentOf"
)
#: Elements of the body that are kept, their content judged.
BODY_KEPT: Final = _words(
    "component structuredBody section templateId id code title confidentialityCode languageCode "
    "entry entryRelationship act encounter observation organizer procedure "
    "substanceAdministration supply statusCode effectiveTime priorityCode value interpretationCode "
    "methodCode targetSiteCode approachSiteCode repeatNumber routeCode doseQuantity rateQuantity "
    "maxDoseQuantity administrationUnitCode quantity independentInd expectedUseTime "
    "derivationExpr sequenceNumber seperatableInd precondition criterion referenceRange "
    "observationRange consumable product manufacturedProduct manufacturedMaterial "
    "manufacturedLabeledDrug low high center width period numerator denominator translation "
    "originalText availabilityTime negationInd"
)
#: Elements of the body that are taken out whole: people, places, names, media, other documents.
BODY_REMOVED: Final = _words(
    "author informant participant performer subject specimen custodian dataEnterer "
    "legalAuthenticator authenticator observationMedia regionOfInterest reference "
    "externalAct externalDocument externalObservation externalProcedure name lotNumberText "
    "manufacturerOrganization nonXMLBody thumbnail qualifier addr telecom offset phase event "
    "comp part setId versionNumber copyTime integrityCheck"
)
#: Elements of the narrative.
NARRATIVE_KEPT: Final = _words(
    "content paragraph list item caption table thead tbody tfoot tr th td col colgroup br sub sup "
    "linkHtml footnote footnoteRef"
)
NARRATIVE_REMOVED: Final = _words("renderMultiMedia")
#: Elements within a line of text; around all others there is a gap.
INLINE: Final = _words("content sub sup linkHtml footnoteRef")

#: Attributes that hold one of a few words, and are kept where they hold nothing but one.
STRUCTURE: Final = _words(
    "classCode moodCode typeCode determinerCode contextControlCode contextConductionInd "
    "negationInd inversionInd independentInd nullFlavor listType align valign border frame rules "
    "width colspan rowspan span scope cellpadding cellspacing summaryStyle styleCode operator "
    "inclusive institutionSpecified nonPayloadInd integrityCheckAlgorithm"
)
#: Values of layout that are words; others are numbers.
LAYOUT: Final = _words(
    "left center right justify top middle bottom baseline ordered unordered row col rowgroup "
    "colgroup void above below hsides lhs rhs vsides box all none groups rows cols "
    "Bold Italics Underline Emphasis Lrule Rrule Toprule Botrule Arabic LittleRoman BigRoman "
    "LittleAlpha BigAlpha Disc Circle Square"
)
#: Attributes of codes.
CODED: Final = _words("code codeSystem codeSystemName codeSystemVersion displayName")
#: Attributes that are left out wherever they stand.
DROPPED: Final = _words(
    "root extension assigningAuthorityName displayable use href name rel rev title mediaType "
    "representation compression integrityCheck charset language value unit abbr axis headers char "
    "charoff summary schemaLocation noNamespaceSchemaLocation currency nil"
)
#: Beginnings of object identifiers that name public code systems, vocabularies and templates.
PUBLIC_ROOTS: Final = (
    "2.16.840.1.113883.1.",
    "2.16.840.1.113883.5.",
    "2.16.840.1.113883.6.",
    "2.16.840.1.113883.10.",
    "2.16.840.1.113883.11.",
    "2.16.840.1.113883.3.26.1.",
    "1.2.840.10008.",
    "1.3.6.1.4.1.19376.",
)
#: Types of values that are numbers.
NUMBER_TYPES: Final = _words("INT REAL PQ IVL_PQ IVL_INT IVL_REAL RTO_PQ_PQ RTO RTO_QTY_QTY PQR")
#: Types of values that are codes.
CODE_TYPES: Final = _words("CD CE CV CS CO")
#: Types of values that are text.
TEXT_TYPES: Final = _words("ST ED")
#: Other types that a value may declare; what they hold is masked.
OTHER_TYPES: Final = _words(
    "BL II TS IVL_TS PIVL_TS EIVL_TS SXCM_TS SXCM_PQ SXCM_INT SXCM_REAL SXPR_TS HXIT_PQ TEL URL AD "
    "EN PN ON TN GLIST_PQ GLIST_TS SLIST_PQ SLIST_TS MO BIN SC UVP_TS ANY ANYNonNull"
)
ALL_TYPES: Final = NUMBER_TYPES | CODE_TYPES | TEXT_TYPES | OTHER_TYPES
#: States of acts. Source: HL7 V3 ActStatus.
STATUSES: Final = _words(
    "normal aborted active cancelled completed held new suspended nullified obsolete"
)
#: Words of attributes of structure: classes, moods, kinds of relations, reasons why a value is
#: absent. Source: HL7 V3 vocabularies, as far as CDA Release 2 uses them.
TERMS: Final = _words(
    "true false "
    "ACT OBS PROC SBADM SPLY ENC ORGANIZER BATTERY CLUSTER DOCCLIN DOC DOCSECT DOCBODY ACCM CONS "
    "CTTEVENT INC INFRM PCPR REG SPCTRT COND ALRT DGIMG INVSTG SPCOBS ROIBND ROIOVL CNTRCT CASE "
    "OUTB CLNTRL MPROT POLICY CTR ENTRY MANU MMAT LABL CONTAINS OBSCOR OBSSER CATEGORY EXTRACT "
    "EHR FOLDER COMPOSITION TOPIC TRFR XACT ADMM ADMT PROD SPEC PRD "
    "EVN INT RQO PRMS PRP DEF GOL ARQ APT EVN.CRT OPT EXPEC PERMRQ SLOT APTM "
    "COMP DRIV XCRPT SUBJ SPRT REFR RSON CAUS GEVL MFST SAS SAFE ELNK APND RPLC XFRM RELVR PERT "
    "REFV PRCN CSM PRF VRF NAME STC FLFS OCCR PREV PYMT AUTH CIND CHRG COST CREDIT DEBIT UPDT "
    "INSTANCE KIND DETERMINED QUANTIFIED QUANTIFIED_KIND OP AP ON OR "
    "NI INV DER OTH NINF PINF UNC MSK NA UNK ASKU NAV NASK NAVU QS TRC A H I P IVL"
)
