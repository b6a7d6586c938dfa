"""``deid-gateway explain``: what a profile does to one file, and why; no key, no database."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from app import bootstrap, pipeline
from app.cli.explain_view import show_differences, show_explanation
from app.cli.options import Settings, with_settings
from app.cli.runs import chosen_profile
from app.dicom.source import FileSource
from app.pipeline.explaining import Explanation, explained
from app.pipeline.reporting import comparison_json, explanation_json


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", default="basic", show_default=True, help="Name of a profile, or a file.")
@click.option("--compare", "other", help="Show what this other profile does differently.")
@click.option("--values", is_flag=True, help="Show what stood there; never a pseudonym.")
@click.option("--json", "as_json", is_flag=True, help="Print what the HTTP interface answers.")
@click.option("--each", is_flag=True, help="Show every item, those that are treated alike as well.")
@with_settings
def explain(  # noqa: PLR0913 - click hands every option over by itself
    settings: Settings,
    file: Path,
    *,
    profile: str,
    other: str | None,
    values: bool,
    as_json: bool,
    each: bool,
) -> None:
    """Show what a profile does to every element of a DICOM FILE, and which rule decided.

    The file goes through the whole pipeline; nothing is written and no mapping is made.

    Exit code: 0 it is explained, 1 it would be refused.
    """
    if other is not None and values:
        raise click.UsageError("--values goes without --compare")
    with file.open("rb") as opened:
        source = FileSource(opened.fileno())
        profiles = [chosen_profile(settings, name) for name in (profile, other) if name]
        with bootstrap.passing_contexts(settings, profiles) as contexts:
            found = [_explanation(source, context) for context in contexts]
        if as_json:
            _print(comparison_json(*found) if other else explanation_json(found[0], values=values))
        elif other:
            show_differences(*found, each=each)
        else:
            show_explanation(found[0], values=values, each=each)


def _explanation(source: FileSource, context: pipeline.Context) -> Explanation:
    done = asyncio.run(pipeline.deidentified(source, context))
    return explained(source, context, done)


def _print(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
