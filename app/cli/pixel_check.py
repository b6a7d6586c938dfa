"""``deid-gateway pixels check``: whether text in images is read here at all."""

import asyncio

import click

from app.cli.options import Settings, with_settings
from app.errors import PixelWorkFailed
from app.pixels.children import OCR_MEMORY, Children

_WORDS = {
    "not-installed": "OCR is not installed: install the extra ocr",
    "timed-out": "OCR takes too long to start",
}
_HELD = "Images that have to be read wait for a person."


@click.command()
@with_settings
def check(settings: Settings) -> None:
    """Read a word in a child process, as images are read.

    Exit code: 0 text in images is read; 1 it is not.
    """
    fault = _fault(settings)
    if fault:
        click.echo(f"{fault}. {_HELD}", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"OCR works, in up to {settings.ocr_processes} processes.")


def _fault(settings: Settings) -> str:
    """Return what keeps images from being read; nothing where they are."""
    if not settings.ocr_processes:
        return "OCR is switched off by DEID_OCR_PROCESSES=0"
    with Children(size=1, memory_bytes=OCR_MEMORY) as children:
        try:
            answer = asyncio.run(
                children.ask({"kind": "ocr-probe"}, timeout_s=settings.pixel_timeout_s)
            )
        except PixelWorkFailed as failure:
            return _WORDS.get(failure.reason, f"OCR does not work: {failure.reason}")
    return "" if answer.get("is_working") is True else "OCR does not work: it misreads"
