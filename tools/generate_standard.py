"""Write ``app/deid/data/`` from the CSV files that hold the standard's facts.

Usage: ``python tools/generate_standard.py SOURCE_DIR [TARGET_DIR]``. The generated modules hold
facts only (tags, codes, types) as tab-separated text and are never edited by hand;
``app/deid/data/SOURCE.md`` says which edition they come from.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from pydicom.sr._snomed_dict import mapping

EDITION = "2026d"
TARGET = Path(__file__).resolve().parent.parent / "app" / "deid" / "data"
OPTIONS = (
    "retain_safe_private",
    "retain_uids",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_patient_characteristics",
    "retain_long_full_dates",
    "retain_long_modified_dates",
    "clean_descriptors",
    "clean_structured_content",
    "clean_graphics",
)
# The two options without a column in Table E.1-1 work on pixels.
PIXEL_OPTIONS = {
    "113101": "clean_pixel_data",
    "113102": "clean_recognizable_visual_features",
}
WANTED_BY_TYPE = {"1": "D", "1C": "D", "2": "Z", "2C": "Z", "3": "X"}
STRENGTH = {"3": 0, "2C": 1, "2": 2, "1C": 3, "1": 4}

Row = dict[str, str]


class SourceError(Exception):
    """A source file contradicts what the generator relies on."""


def read(source: Path, name: str) -> list[Row]:
    """Read one CSV file whole."""
    with (source / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def table_rows(source: Path) -> Iterator[str]:
    """Write Table E.1-1, one attribute a line."""
    for row in read(source, "ps3_15_table_e1_1.csv"):
        options = " ".join(f"{name}={row[name]}" for name in OPTIONS if row[name])
        yield "\t".join(
            (row["tag"], row["keyword"], row["name"], row["vr"], row["basic"], options or "-")
        )


def role_rows(source: Path) -> Iterator[str]:
    """Write the treatment of every UI attribute."""
    for row in read(source, "ui_attribute_roles_proposed.csv"):
        shared = "1" if row["may_hold_well_known_uid"] == "Y" else "0"
        yield "\t".join((row["tag"], row["proposed_role"], row["proposed_handling"], shared))


def required_rows(source: Path) -> Iterator[str]:
    """Name the strictest Type of each attribute at each path that is coded plain X."""
    strictest: dict[tuple[str, str], str] = {}
    for row in read(source, "x_on_type1_or_2.csv"):
        key = (row["path"], row["tag"])
        strictest[key] = max(strictest.get(key, "3"), row["type"], key=STRENGTH.__getitem__)
    for (path, tag), type_ in strictest.items():
        yield f"{path}\t{tag}\t{type_}"


def safe_private_rows(source: Path) -> Iterator[str]:
    """Write Table E.3.10-1."""
    for row in read(source, "safe_private_attributes.csv"):
        vr = row["vr"] or "-"
        yield "\t".join((row["private_creator"], row["group"], row["element_offset"], vr))


def content_rows(source: Path) -> Iterator[str]:
    """Write Table E.3.4-1, one concept and value type a line."""
    for row in read(source, "ps3_15_table_e3_4_1_structured_content.csv"):
        options = " ".join(f"{name}={row[name]}" for name in OPTIONS if row.get(name))
        yield "\t".join(
            (
                *(row["coding_scheme_designator"], row["code_value"], row["value_type"]),
                *(row["code_meaning"], row["basic"], options or "-"),
            )
        )


def retired_rows(source: Path) -> Iterator[str]:
    """Write the retired codes of the concepts of Table E.3.4-1, as pydicom maps them."""
    rows = read(source, "ps3_15_table_e3_4_1_structured_content.csv")
    used = {row["code_value"] for row in rows if row["coding_scheme_designator"] == "SCT"}
    for retired, code in sorted(mapping["SRT"].items()):
        if code in used:
            yield f"{retired}\t{code}"


def method_rows(source: Path) -> Iterator[str]:
    """Write CID 7050, keyed by option."""
    for row in read(source, "cid7050_deidentification_methods.csv"):
        option = row["table_e1_1_column"] or PIXEL_OPTIONS[row["code_value"]]
        yield f"{option}\t{row['code_value']}\t{row['code_meaning']}"


def ciod_rows(source: Path) -> Iterator[str]:
    """Write the IOD of every SOP Class."""
    for row in read(source, "sop_class_ciod.csv"):
        yield f"{row['sop_class_uid']}\t{row['ciod']}"


def uid_rows(source: Path) -> Iterator[str]:
    """Write the registry of well-known UIDs."""
    for row in read(source, "uid_registry.csv"):
        yield f"{row['uid']}\t{row['type']}"


def expected_action(code: str, type_: str) -> str:
    """Say what the compound rule makes of one Type, to check the source against."""
    order = "XZU" if code.endswith("U*") else "XZD"
    wanted = "XZD".index(WANTED_BY_TYPE[type_])
    offered = code.replace("U*", "U").split("/")
    return next((letter for letter in order[wanted:] if letter in offered), order[wanted])


def compound_blocks(source: Path) -> Iterator[str]:
    """Write one line per IOD: paths between ``|``, and ``tag=Type`` pairs under each."""
    rows = read(source, "ciod_compound_resolution.csv")
    codes = {row["tag"]: row["basic"] for row in read(source, "ps3_15_table_e1_1.csv")}
    for row in rows:
        action = expected_action(row["code"], row["type_any_module"])
        if action != row["action_any"] or codes[row["tag"]] != row["code"]:
            raise SourceError(f"{row['ciod']} {row['path']} {row['tag']}")
    rows.sort(key=lambda row: (row["ciod"], row["path"], row["tag"]))
    for ciod, of_ciod in groupby(rows, key=lambda row: row["ciod"]):
        blocks = [
            f"{path}:" + " ".join(f"{row['tag']}={row['type_any_module']}" for row in of_path)
            for path, of_path in groupby(of_ciod, key=lambda row: row["path"])
        ]
        yield f"{ciod}\t" + "|".join(blocks)


def strictest_rows(source: Path) -> Iterator[str]:
    """Name the strictest Type that each compound attribute has anywhere."""
    strictest: dict[str, str] = {}
    for row in read(source, "ciod_compound_resolution.csv"):
        tag = row["tag"]
        strictest[tag] = max(
            strictest.get(tag, "3"), row["type_any_module"], key=STRENGTH.__getitem__
        )
    for tag in sorted(strictest):
        yield f"{tag}\t{strictest[tag]}"


def module_text(docstring: str, tables: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """Lay out one generated module: a docstring and its tables."""
    parts = [f'"""{docstring} Generated by ``tools/generate_standard.py``."""', ""]
    parts += ["# fmt: off", "# ruff: noqa: E501"]
    for name, columns, lines in tables:
        body = "\n".join(lines)
        if "\\" in body or '"""' in body:
            raise SourceError(name)
        parts += ["", f"# {columns}", f'{name} = """\\', body, '"""']
    return "\n".join(parts) + "\n"


def modules(source: Path) -> dict[str, str]:
    """Build every generated module, by file name."""
    return {
        "table_e1_1.py": module_text(
            f"PS3.15 {EDITION}, Table E.1-1: one attribute a line.",
            [
                (
                    "ROWS",
                    "tag, keyword, name, VR, basic profile, options",
                    table_rows(source),
                )
            ],
        ),
        "attribute_types.py": module_text(
            "Types of PS3.3 that decide compound codes and plain X.",
            [
                ("REQUIRED", "path, tag, strictest Type (coded plain X)", required_rows(source)),
                (
                    "STRICTEST",
                    "tag, strictest Type in any IOD (compound codes)",
                    strictest_rows(source),
                ),
                ("CIODS", "SOP Class UID, IOD", ciod_rows(source)),
            ],
        ),
        "compound.py": module_text(
            "Types of the attributes with a compound code, by IOD and path (PS3.3 2024c).",
            [("COMPOUND", "IOD, then path:tag=Type tag=Type|path:...", compound_blocks(source))],
        ),
        "uids.py": module_text(
            "Well-known UIDs (PS3.6 2026c, Annex A) and the roles of UI attributes.",
            [
                ("REGISTRY", "UID, kind", uid_rows(source)),
                ("ROLES", "tag, role, treatment, may hold a well-known UID", role_rows(source)),
            ],
        ),
        "structured_content.py": module_text(
            "PS3.15 2026c, Table E.3.4-1: what happens to content items, by concept.",
            [
                (
                    "CONTENT",
                    "coding scheme, code value, value type, meaning, basic profile, options",
                    content_rows(source),
                ),
                (
                    "RETIRED",
                    "code of SNOMED RT, SNOMED CT code in use (of the concepts above)",
                    retired_rows(source),
                ),
            ],
        ),
        "options.py": module_text(
            f"PS3.15 {EDITION}, Table E.3.10-1, and PS3.16, CID 7050.",
            [
                ("SAFE_PRIVATE", "creator, group, low byte, VR", safe_private_rows(source)),
                ("METHODS", "option, code value, code meaning", method_rows(source)),
            ],
        ),
    }


def main(arguments: list[str]) -> int:
    """Write the modules; the exit code is 2 when called wrongly."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write(__doc__ or "")
        return 2
    target = Path(arguments[1]) if len(arguments) == 2 else TARGET
    for name, text in modules(Path(arguments[0])).items():
        (target / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
