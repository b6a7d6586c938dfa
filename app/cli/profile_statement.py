"""Layout of conformance statements: Markdown and HTML."""

import re
from collections.abc import Iterator
from html import escape

from app.deid.conformance import Section, Statement, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#&~])")
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { border: 1px solid; padding: .25rem .5rem; text-align: left; vertical-align: top; }
tbody th { font-weight: normal; }
.scrolls { overflow-x: auto; }
@media print { .scrolls { overflow: visible; } thead { display: table-header-group; } }
"""
# Nothing of the page may load or run anything, whatever stands in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def markdown(statement: Statement) -> str:
    """Return a statement as Markdown, with tables as GitHub and pandoc read them."""
    return "\n".join(_markdown_lines(statement))


def _markdown_lines(statement: Statement) -> Iterator[str]:
    yield f"# {_plain(statement.title)}"
    for number, section in enumerate(statement.sections, start=1):
        yield f"\n## {number}. {_plain(section.heading)}"
        for paragraph in section.paragraphs:
            yield f"\n{_plain(paragraph)}"
        for table in section.tables:
            yield f"\n**{_plain(table.caption)}**\n"
            yield _line(table.columns)
            yield "|" + " --- |" * len(table.columns)
            yield from map(_line, table.rows)
    yield ""


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def html(statement: Statement) -> str:
    """Return a statement as one HTML page that needs nothing else."""
    return "\n".join(_html_lines(statement))


def _html_lines(statement: Statement) -> Iterator[str]:
    title = escape(statement.title)
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield '<head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>"
    yield f"<style>{_STYLE}</style></head>"
    yield f"<body><header><h1>{title}</h1></header>"
    yield '<nav aria-label="Sections"><ol>'
    for number, section in enumerate(statement.sections, start=1):
        yield f'<li><a href="#section-{number}">{escape(section.heading)}</a></li>'
    yield "</ol></nav>"
    yield "<main>"
    for number, section in enumerate(statement.sections, start=1):
        yield from _html_section(number, section)
    yield "</main></body></html>\n"


def _html_section(number: int, section: Section) -> Iterator[str]:
    yield f'<section id="section-{number}"><h2>{number}. {escape(section.heading)}</h2>'
    for paragraph in section.paragraphs:
        yield f"<p>{escape(paragraph)}</p>"
    for table in section.tables:
        yield from _html_table(table)
    yield "</section>"


def _html_table(table: Table) -> Iterator[str]:
    caption = escape(table.caption)
    # What scrolls has to be reachable with the keyboard, and to have a name.
    yield f'<div class="scrolls" role="region" tabindex="0" aria-label="{caption}">'
    yield f"<table><caption>{caption}</caption>"
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for first, *others in table.rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        yield f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
    yield "</tbody></table></div>"
