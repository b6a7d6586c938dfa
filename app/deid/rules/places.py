"""Places, organisations and ids as they are searched for in text: what is particular of them.

A department may be called *Radiology*, and the id of a study may be *CHEST*: the word alone says
nothing of anybody, and stays.
"""

import re
from collections.abc import Iterator

from app.deid.rules.identifiers import MIN_ID, folded, id_core, words
from app.deid.rules.vocabulary import TERMS

# Words of departments, wards and rooms, in English, German, French, Spanish, Italian and Dutch.
_DEPARTMENTS = (
    "a abteilung admitted ae ambulance ambulant ambulanz ambulatory anaesthesia and anesthesia "
    "anesthesie anesthesiology angiographie angiography anonymous any area b bay bed bett block "
    "bloque board breast building c cama camera cardiac cardiologia cardiologie cardiology care "
    "cat ccu central chambre children chirurgia chirurgie cirugia consultation cr critical ct d "
    "da das day de default del demo departamento department dept der dermatologie dermatology "
    "des di diagnostic diagnostics diagnostik diagnostisch diagnostische die dipartimento "
    "discharged division dr du dx e east echo ed elective emergency en endocrinology endoscopy "
    "endoskopie ent er est et etage extern external floor for frauen fur gastroenterologie "
    "gastroenterology general geriatrics gp gynaecology gynakologie gynecology haematology "
    "heart hematology hno home hospitalised hospitalized icu imagerie imaging in innere "
    "inpatient intensiv intensive intern internal interne interventional itu iv kardiologie "
    "kinder la lab laboratory le les level lits lung main mammographie mammography maternity "
    "medecine medical medicina medicine medizin mobile mr mri mrt nd neonatal nephrology neuro "
    "neurochirurgie neurologia neurologie neurology neuroradiologie neuroradiology neurosurgery "
    "neurosurgical nicu nm no none nord normal north notaufnahme notfall nr nuclear nukleaire "
    "nuklearmedizin number obstetrics of office oncologia oncologie oncology onkologie "
    "onkologisch op operating ophthalmology or orthopadie orthopaedics orthopedic orthopedics "
    "ost other ouest outpatient pacs padiatrie paediatric paediatrics palliative pathologie "
    "pathology patient patients pediatric pediatrics pet piano picu planta pneumologie "
    "pneumology polyclinic portable postop practice preop private psychiatry public pulmonology "
    "radio radiodiagnostico radiografia radiographie radiography radiologia radiologica "
    "radiological radiologie radiologische radiology radiotherapie radiotherapy raum ray rd "
    "recovery rehabilitation removed reparto research resuscitation rheumatology ris rontgen "
    "room rt saal sala salle scan scanner scanning scp screening scu section sektion service "
    "services servicio servizio sonographie south special specialist st station stock stroke "
    "sud suite surgery surgical teaching team test th the theatre therapie therapy thoracic "
    "trauma traumatology treatment triage ultrasound unbekannt und unidad unit unite unknown "
    "urgences urgencias urologie urology us van vascular voor ward welfare west wing women xray "
    "y zentral zimmer zna"
)
# Of organisations: said of many, and yet in a name with others.
_ORGANISATIONS = frozenset(
    "center centre centro clinic clinica clinics clinique foundation gmbh group health healthcare "  # noqa: SIM905
    "hopital hospital hospitals institut institute institution kliniken klinik klinikum "
    "krankenhaus ltd medicare ospedale praxis stiftung trust universitair universitat universitats "
    "university ziekenhuis zentrum".split()
)
# Manufacturers and their devices, which machines are called after.
_DEVICES = frozenset(
    "agfa canon carestream clinac cyberknife elekta esaote ethos fuji fujifilm ge halcyon "  # noqa: SIM905
    "healthineers hitachi hologic konica linac mindray minolta philips radixact samsung shimadzu "
    "siemens synergy systems tomotherapy toshiba truebeam varian versa".split()
)
_WORDS = _DEVICES | _ORGANISATIONS | set(_DEPARTMENTS.split()) | {term.lower() for term in TERMS}
_ROOMS = frozenset(
    "bay bed bett block building chambre etage floor level op planta room raum saal sala salle "  # noqa: SIM905
    "station suite theatre unit ward wing zimmer".split()
)
_COMPONENTS = re.compile(r"[,;^|\r\n]+")
# What stands before an address to say of what kind it is.
_SCHEME = re.compile(r"\A(?:mailto|e-?mail|tel|fax|sip|https?)\s?:/{0,2}\s?", re.IGNORECASE)
_MIN_FIGURES, _MANY = 3, 5


def phrases(text: str) -> Iterator[str]:
    """Yield what is searched for of the names and addresses in an attribute.

    Each value as a whole, and those of its components that have several words: a street, a
    postcode with its town.
    """
    for value in text.split("\\"):
        whole = value.strip()
        if _is_particular(whole):
            yield whole
        for part in (_SCHEME.sub("", part.strip()) for part in _COMPONENTS.split(value)):
            if part != whole and len(words(part)) > 1 and _is_particular(part):
                yield part


# Words that stand in the place of ids, beside those of places.
_NO_IDS = frozenset(
    "contrast detector exam examination flat image none panel plate protocol routine standard "  # noqa: SIM905
    "study test".split()
)


def ids(text: str) -> Iterator[str]:
    """Yield what is searched for of the ids in an attribute: not those that are mere words."""
    for value in text.split("\\"):
        parts = words(folded(value))
        if not all(part.isalpha() and (part in _WORDS or part in _NO_IDS) for part in parts):
            yield value


def _is_particular(text: str) -> bool:
    """Say whether a phrase is more than words that stand in many texts."""
    if len(id_core(text)) < MIN_ID:
        return False
    parts = words(folded(text))
    organisation = len(parts) > 1 and not _ORGANISATIONS.isdisjoint(parts)
    return (
        (organisation and _DEVICES.isdisjoint(parts))
        or len(parts) >= _MANY
        or any(_says_who(part, parts) for part in parts)
    )


def _says_who(word: str, parts: list[str]) -> bool:
    if word.isalpha():
        return word not in _WORDS
    # Figures: the number of a room, not that of the second device.
    return len(word) >= _MIN_FIGURES or (not word.isdigit() and not _ROOMS.isdisjoint(parts))
