"""What the ladder says of one object's pixels, and its marks drawn; nothing is de-identified."""

from dataclasses import dataclass
from typing import Any, Final

from app.dicom import part10
from app.dicom.source import Source
from app.errors import PixelWorkFailed
from app.pipeline.instance import Instance
from app.pipeline.pixel_advice import advice
from app.pipeline.pixel_tasks import drawn
from app.pipeline.pixel_work import judged
from app.pipeline.results import Context
from app.pipeline.side_work import Request, Work
from app.pixels.model import Decision, Risk, Verdict

MAX_EDGE: Final = 2048
_HELD: Final = frozenset({Verdict.QUARANTINE, Verdict.DROP})


@dataclass(frozen=True, slots=True, repr=False)
class Judgement:
    """What would become of an object's pixels.

    Attributes:
        decision: None where there are no pixels.
    """

    decision: Decision | None
    _request: Request | None
    _context: Context

    def told(self) -> dict[str, Any]:
        """Return it as plain data; no text of the image is in it."""
        if self.decision is None or self._request is None:
            return {"verdict": None}
        version = self._request.rules_version
        told = dict(Work(self.decision, rules_version=version).record())
        if self.decision.verdict in _HELD:
            told["advice"] = advice(self.decision)
        return told

    async def png(self, frame: int, *, fill: bool = False) -> bytes:
        """Return one frame, from 0, with the marks drawn on it, or filled as they would be.

        Raises:
            PixelWorkFailed, InvalidRequest: there is nothing to draw, or no such frame.
        """
        decision = self.decision or Decision(Verdict.PASS, Risk.NONE)
        request = self._request
        if request is None:
            raise PixelWorkFailed("frames-not-found")
        style = "fill" if fill else "outline"
        return await drawn(
            request, self._context, decision, frame=frame, style=style, max_edge=MAX_EDGE
        )


async def judge(source: Source, context: Context) -> Judgement:
    """Ask the ladder about an object, as it would be asked on the way.

    Raises:
        InvalidInput: the object cannot be worked with.
    """
    rules = await context.pixels.rules(context.organization) if context.pixels else None
    instance = Instance(part10.read(source, context.limits), context, rules)
    instance.admit()
    request = instance.request()
    decision = await judged(request, source, context) if request else None
    return Judgement(decision, request, context)
