"""Burned-in text: what passes, what is masked for nothing, and what it costs.

What is compared and how: ``docs/reference/benchmarks.md``.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import pixels_codecs, pixels_corpus, pixels_proof, pixels_speed
from bench.pixels_path import Take, gateway, profile
from bench.pixels_presidio import NAME, presidio
from bench.report import Table
from bench.workspace import Workspace
from tests.pixels.burning.cases import Case, drawn
from tools.debian_tools import PackageUnavailable

IMAGES, FREE, UNREAD = 400, 120, 60
SEED = 1
MASKING = "deid-gateway, found text is masked"
STRICT = "deid-gateway, found text is held"


def measure_masks(space: Workspace, *, rounds: int) -> list[Table]:
    """Measure masks in every format."""
    return [pixels_codecs.measure(rounds=min(rounds, 3), scale=space.scale)]


def measure_rungs(*, rounds: int, seconds: float, readers: int = 2) -> list[Table]:
    """Measure what the rungs cost, and what goes through."""
    return pixels_speed.measure(rounds=rounds, seconds=seconds, readers=readers)


def measure_text(space: Workspace, *, peers: str) -> list[Table]:
    """Measure what can be read in the end; the images are made anew, always the same."""
    scale = space.scale
    cases = drawn(max(4, round(IMAGES * scale)), SEED)
    tables: list[Table] = []
    with _tools(space, peers) as (tools, missing):
        tables += pixels_proof.measure(cases, tools)
        tables[0].notes += missing
        free = drawn(max(3, round(FREE * scale)), SEED + 1)
        tables.append(pixels_proof.measure_free(free, tools))
        tables.append(pixels_proof.measure_unread(_unread(scale), {MASKING: tools[MASKING]}))
        if real := pixels_corpus.images():
            tables.append(pixels_corpus.measure(real, tools))
    return tables


def _unread(scale: float) -> list[Case]:
    """Return images that nobody reads, because nobody expects text in them."""
    count = max(3, round(UNREAD * scale))
    sections = drawn(2 * count, SEED + 2, kinds=("ct-original",))
    return [case for case in sections if case.is_believed][:count]


@contextmanager
def _tools(space: Workspace, peers: str) -> Iterator[tuple[dict[str, Take], list[str]]]:
    """Start what is measured; name what cannot be had."""
    missing: list[str] = []
    scratch = space.root / "pixels"
    scratch.mkdir()
    with ExitStack() as stack:
        path = stack.enter_context(gateway(profile("mask")))
        tools: dict[str, Take] = {MASKING: path.take, STRICT: path.told(profile()).take}
        if peers != "none":
            try:
                tools[NAME] = stack.enter_context(presidio(peers, scratch)).take
            except PackageUnavailable as error:
                missing.append(f"{NAME}: {error}")
        yield tools, missing
    shutil.rmtree(scratch)
