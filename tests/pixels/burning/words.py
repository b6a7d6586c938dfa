"""Texts as devices burn them into images: people who do not exist, and words that identify nobody.

Every value is drawn from lists with a generator that is handed in, so the same seed gives the same
text. Names of many cultures in Latin letters; dates, numbers, telephones and addresses as they are
written in different countries.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

Rng = np.random.Generator


class Kind(StrEnum):
    """What a text says of a person; named like the kinds that the reading rung reports."""

    PATIENT_NAME = "patient-name"
    DATE = "date"
    ID = "id"
    PERSON = "person"
    INSTITUTION = "institution"
    PHONE = "phone"
    ADDRESS = "address"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Text:
    """One line.

    Attributes:
        spans: parts of the text, first and behind the last character, that identify somebody.
    """

    text: str
    kind: Kind
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def is_identifying(self) -> bool:
        """Whether any part of it must not be seen."""
        return bool(self.spans)

    def identifies(self, place: int) -> bool:
        """Whether the letter or digit at this place must not be seen."""
        inside = any(start <= place < end for start, end in self.spans)
        return inside and self.text[place].isalnum()


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """A made-up patient with everything that surrounds one study."""

    family: str
    given: str
    birth: dt.date
    study: dt.datetime
    patient_id: str
    accession: str
    institution: str
    physician: tuple[str, str]
    operator: tuple[str, str]
    phone: str
    street: str
    town: str


def _entries(text: str) -> tuple[str, ...]:
    return tuple(" ".join(entry.split()) for entry in text.split("|"))


FAMILY = _entries("""
Achterbergh | Adeyemi-Bankole | Aðalsteinsdóttir | Ashworthy | Balakrishnamurti | Bjørnebråten |
Castañeda Ibarrola | Cətinqaya | Czarnożył | D'Aubignac | Dall'Orologio | Dlamukhoza |
Đurđinović | Eşrefoğlu | Fitzhughley | Fjällsjöberg | García-Urrutikoetxea | Gölzenleuchter |
Hakobyants | Horváthné Szűcsfalvi | Iwashimizu | Järvenmäki | Kalnbērziņš | Kirpichnikova |
Kwabenatey | Lindqvisterson | Mac Giollabhuí | Måsvær | Mbatshangwe | Mekuriyaw | Nakagawaji |
Nguyễn Phước | Ó Súilleabhán | Oyelaranfun | Papageorgakis | Përlleshi | Quispehuanca |
Řezníčkář | Raghunandanan | Sigurhjartarson | Ștefănescovici | Thorpelington | Tiumentsev |
Uzunköprülü | van der Waterschoot | Vasconcellinhos | Wojciechowiak | Xiangmeiling | Yılmazoğlu
| Zubiaurrementeria | Żółkiewicki | Okparaeke | Lê Quang | Teo | Ngô | Orr | Qiu | Bäß
""")  # noqa: RUF001
GIVEN = _entries("""
Aarne | Abimbola | Agnieszka | Anneliese | Başak | Benedikta | Bronwen | Chidiebere | Chloë |
Cosimo | Ðeira | Dzsenifer | Eluned | Eréndira | Fiadh | Françoise | Ghislaine | Guðrún | Håkon
| Hyacinthe | İlknur | Ilse-Marie | Jadwiga | Jörg | Kaixuan | Kęstutis | Ljubica | Luís Otávio
| Małgosia | Mei-Ling | Mohinder | Nkechinyere | Ólafía | Oluwaseun | Päivikki | Pranjali |
Quirijn | Rasmus | Renée | Saoirse | Snežana | Søren | Takahiro | Bích | Thulani | Ulrike |
Vaidehi | Věnceslav | Wanjiru | Xochitl | Yevgenia | Zsófia | Ann | Bo | Mia
""")
INSTITUTIONS = _entries("""
St. Winnowby Infirmary | Klinikum Oberreichental | Hôpital de la Vaudrenne | Brackenmoor General
Hospital | Ospedale San Tiburzo | Hospital Nª Sra. del Almendral | Rikshospitalet Nordmarkvik |
Universitätsklinik Brenzach | Szpital Miejski Brzozówek | CHU Montrevault | Lakeridge Women's
Clinic | KRH Nordhausing | Praxis Dr. Immergrün | Fakultní nemocnice Třebouň | AKH Donaufels |
MVZ Radiologie Seehaupt
""")
STREETS = _entries("""
17 Larkspur Crescent | Gänseblümchenweg 4a | 221 Old Tannery Rd | Rue des Tilleuls 38 | Vía
Castagneto 12 | Plac Różany 7 | Nedre Bryggegata 19 | P.O. Box 4410 | Calle Ebanista 55
""")
TOWNS = _entries("""
Oberreichental 87219 | Winnowby WB4 7QT | 44812 Montrevault | Almendral 06171 | Brzozówek 05-152
| Fairhollow, OH 43999 | N-4790 Nordmarkvik | Třebouň 379 44
""")
HARMLESS = _entries("""
R | L | AP | PA | LAT | 50 mm | MI 1.2 | TIs 0.4 | TIb 0.7 | kVp 120 | 120 kV | 85 mAs | FR 32Hz
| Gain 62% | 12.5 cm | SUPINE | ERECT | Z 100% | W 400 L 40 | GENERAL | C5-2 | LIVER SAG | 2D
65% | Dist 1.43 cm | HR 72 bpm | LV | AO | RK | 5.0 MHz | DR 60 dB | Map 3 | 3.5 s | cm/s | SID
110 cm | 1/24 | +40 | x 2.0 | Frame 3 | ABDOMEN | PORTABLE | AXIAL | 10 cm
""")
_DATE_FORMATS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d-%m-%Y"),
    *(
        "%d %b %Y",
        "%d-%b-%Y",
        "%b %d, %Y",
        "%B %d %Y",
        "%d %B %Y",
        "%d.%m.%y",
        "%d %b %y",
        "%m/%d/%y",
    ),
)
_DATE_LABELS = ("", "", "DOB: ", "DOB ", "Geb. ", "*", "Born ", "Né le ", "Nacim.: ", "f. ", "BD:")
_TIMES = ("", "", " %H:%M", " %H:%M:%S", " %I:%M:%S %p")


T = TypeVar("T")


def pick(rng: Rng, choices: Sequence[T]) -> T:
    """Draw one."""
    return choices[int(rng.integers(len(choices)))]


def digits(rng: Rng, pattern: str) -> str:
    """Write a digit for every ``#`` and a letter for every ``@``."""
    made = {"#": lambda: str(rng.integers(10)), "@": lambda: chr(65 + int(rng.integers(26)))}
    return "".join(made.get(sign, lambda sign=sign: sign)() for sign in pattern)


def person(rng: Rng) -> Person:
    """Draw somebody."""
    birth = dt.date(1921, 1, 1) + dt.timedelta(days=int(rng.integers(36_000)))
    study = dt.datetime(2003, 1, 1) + dt.timedelta(minutes=int(rng.integers(11_000_000)))  # noqa: DTZ001
    return Person(
        family=pick(rng, FAMILY),
        given=pick(rng, GIVEN),
        birth=birth,
        study=study,
        patient_id=digits(rng, pick(rng, _IDS)),
        accession=digits(rng, pick(rng, _ACCESSIONS)),
        institution=pick(rng, INSTITUTIONS),
        physician=(pick(rng, FAMILY), pick(rng, GIVEN)),
        operator=(pick(rng, FAMILY), pick(rng, GIVEN)),
        phone=digits(rng, pick(rng, _PHONES)),
        street=pick(rng, STREETS),
        town=pick(rng, TOWNS),
    )


_IDS = (
    "########",
    "####-####-##",
    "@@#######",
    "##.###.###",
    "P#####",
    "0############",
    "#### ### ##@",
)
_ACCESSIONS = ("A#######", "##########", "@@@-####-#####", "####.######", "US##-#####")
_PHONES = (
    "+49 8721 55####",
    "(212) 555-01##",
    "01632 960###",
    "+33 1 99 00 ## ##",
    "+48 22 555 ## ##",
)


def _labelled(labels: Sequence[str], value: str, kind: Kind, rng: Rng) -> Text:
    label = pick(rng, labels)
    return Text(label + value, kind, ((len(label), len(label) + len(value)),))


def name_line(who: Person, rng: Rng) -> Text:
    """Write the patient's name as one of many devices would."""
    family, given = who.family, who.given
    forms = (
        f"{family}, {given}",
        f"{family.upper()}, {given}",
        f"{family.upper()},{given.upper()}",
        f"{family.upper()}^{given.upper()}",
        f"{given} {family}",
        f"{family} {given}",
        f"{family.upper()} {given.upper()}",
        f"{family}, {given[0]}.",
        f"{given[0]}. {family}",
        f"Mr {family}",
        f"{family.upper()} {given.upper()}"[:14].rstrip() + "..",
    )
    labels = ("", "", "", "Name: ", "Pat: ", "Patient: ", "Nom: ", "PN ")
    return _labelled(labels, pick(rng, forms), Kind.PATIENT_NAME, rng)


def birth_line(who: Person, rng: Rng) -> Text:
    """Write the date of birth."""
    return _labelled(_DATE_LABELS, who.birth.strftime(pick(rng, _DATE_FORMATS)), Kind.DATE, rng)


def study_line(who: Person, rng: Rng) -> Text:
    """Write when the study was made; a time after the date belongs to it."""
    form = pick(rng, _DATE_FORMATS) + pick(rng, _TIMES)
    return _labelled(("", "", "Date: "), who.study.strftime(form), Kind.DATE, rng)


def id_line(who: Person, rng: Rng) -> Text:
    """Write the patient ID or the accession number."""
    if rng.random() < 0.6:
        labels = ("", "ID: ", "MRN ", "PID:", "Pat.-Nr. ", "#")
        return _labelled(labels, who.patient_id, Kind.ID, rng)
    return _labelled(("", "Acc# ", "Acc: ", "Order "), who.accession, Kind.ID, rng)


def institution_line(who: Person, rng: Rng) -> Text:
    """Write where it was made."""
    forms = (who.institution, who.institution.upper(), who.institution[:-4].rstrip() + "..")
    return _labelled(("", "", "Inst: "), pick(rng, forms), Kind.INSTITUTION, rng)


def person_line(who: Person, rng: Rng) -> Text:
    """Write a physician's or an operator's name."""
    family, given = pick(rng, (who.physician, who.operator))
    forms = (
        family,
        f"{family}, {given}",
        f"{given[0]}. {family}",
        f"{family.upper()} {given.upper()}",
    )
    labels = ("Dr. ", "Ref: ", "Op: ", "Perf. Phys.: ", "Sonographer ", "Prof. ")
    return _labelled(labels, pick(rng, forms), Kind.PERSON, rng)


def phone_line(who: Person, rng: Rng) -> Text:
    """Write a telephone number."""
    return _labelled(("", "Tel. ", "Ph: ", "Fax "), who.phone, Kind.PHONE, rng)


def address_line(who: Person, rng: Rng) -> Text:
    """Write a street, a town or both."""
    forms = (who.street, who.town, f"{who.street}, {who.town}")
    return _labelled(("", "", "Addr: "), pick(rng, forms), Kind.ADDRESS, rng)


def harmless_line(rng: Rng) -> Text:
    """Write what may stay."""
    return Text(pick(rng, HARMLESS), Kind.HARMLESS)


Maker = Callable[[Person, Rng], Text]
#: What stands in a banner, the most frequent first.
MAKERS: tuple[Maker, ...] = (
    name_line,
    id_line,
    birth_line,
    study_line,
    institution_line,
    person_line,
    phone_line,
    address_line,
)
_WEIGHTS = np.array([26, 20, 15, 15, 10, 8, 3, 3]) / 100


def makers(count: int, rng: Rng) -> list[Maker]:
    """Draw the lines of a banner, none twice."""
    numbers = rng.choice(len(MAKERS), size=min(count, len(MAKERS)), replace=False, p=_WEIGHTS)
    return [MAKERS[int(number)] for number in numbers]
