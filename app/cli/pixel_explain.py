"""``deid-gateway pixels explain``: what the ladder says of one image, and its marks drawn."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from app import bootstrap, errors
from app.cli.options import Settings, with_settings
from app.cli.pixel_view import decision_lines
from app.cli.runs import chosen_profile
from app.deid.options import Option, combined
from app.deid.profile import Profile, with_version
from app.deid.profile_model import BurnedInPolicy
from app.dicom.source import FileSource
from app.pipeline import Context
from app.pipeline.judging import Judgement, judge

_PASSED = {"pass", "mask"}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", default="basic", show_default=True, help="Name of a profile, or a file.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one frame with the marks drawn on it; it shows what the image shows.",
)
@click.option("--frame", type=click.IntRange(1), help="Which one, from 1, which is the default.")
@click.option("--fill", is_flag=True, help="Fill the marks in the PNG instead of outlining them.")
@click.option("--json", "as_json", is_flag=True, help="Print it for programs.")
@with_settings
def explain(  # noqa: PLR0913 - click hands every option over by itself
    settings: Settings,
    file: Path,
    *,
    profile: str,
    png: Path | None,
    frame: int | None,
    fill: bool,
    as_json: bool,
) -> None:
    """Show what would become of the pixels of a DICOM FILE: rungs, rules and rectangles.

    A profile without the option is taken as if it had it. Nothing is held back, and no mapping is
    made. No text of the image is printed.

    Exit code: 0 the pixels pass, perhaps masked; 1 they would be held back or refused.
    """
    if png is None and (frame is not None or fill):
        raise click.UsageError("--frame and --fill say how --png is drawn")
    with file.open("rb") as opened:
        source = FileSource(opened.fileno())
        wanted = _with_option(chosen_profile(settings, profile))
        with bootstrap.passing_contexts(settings, [wanted]) as (context,):
            told, drawn = asyncio.run(
                _judged(source, context, frame=(frame or 1) - 1 if png else None, fill=fill)
            )
    if png is not None and drawn is not None:
        _write(png, drawn)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        for line in decision_lines(told):
            click.echo(line)
    if told["verdict"] not in _PASSED | {None}:
        sys.exit(1)


def _with_option(profile: Profile) -> Profile:
    """Return a profile that cleans pixels, otherwise as it is."""
    if profile.cleans_pixels:
        return profile
    options = combined([*profile.options, Option.CLEAN_PIXEL_DATA])
    return with_version(replace(profile, options=options, burned_in=BurnedInPolicy.REFUSE))


def _write(png: Path, drawn: bytes) -> None:
    try:
        png.write_bytes(drawn)
    except OSError as error:
        raise errors.StorageUnavailable(f"The image cannot be written: {error.strerror}") from None


async def _judged(
    source: FileSource, context: Context, *, frame: int | None, fill: bool
) -> tuple[dict[str, Any], bytes | None]:
    judgement: Judgement = await judge(source, context)
    drawn = None if frame is None else await judgement.png(frame, fill=fill)
    return judgement.told(), drawn
