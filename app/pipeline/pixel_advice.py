"""What a refusal says about pixels: which rung of the ladder would help. Nothing of the image."""

from functools import lru_cache

from app.deid.options import Option
from app.pixels import regions, risk
from app.pixels.model import Decision, Picture
from app.pixels.rules import RuleSet, marks_for
from app.pixels.rules_loading import load_rules

# Reason of the ladder → what helps.
_HELP = {
    "not-read": "reading its text needs the extra 'ocr', or a complete mask rule for the device",
    "not-read-to-the-end": "its text was not read in time: a longer time or a complete mask rule",
    "no-rule-for-device": "a mask rule for the device",
    "identifying-text": "a mask rule for where the text stands, or pixels.found 'mask'",
    "unreadable-text": "a mask rule for where the text stands",
    "still-readable": "a mask rule for where the text stands",
    "rule-outside-image": "a mask rule that fits the size of the image",
    "invalid-regions": "a mask rule for the device",
    "video": "pixels.video 'accept', which looks at nothing",
    "mask-failed": "another transfer syntax, or pixels.lossy 'allow'",
}


def advice_without_option(picture: Picture) -> str:
    """Say which rung would help an image that declares text, under a profile that cleans none."""
    rungs = []
    if marks_for(picture, _built_in()).rules:
        rungs.append("a mask rule for this device exists")
    if risk.is_ultrasound(picture) and regions.marks(picture):
        rungs.append("its ultrasound regions say where the image is")
    found = "; ".join(rungs) or "no mask rule knows this device, its text would be read"
    return f"The pixels may show identifying text; with {Option.CLEAN_PIXEL_DATA}: {found}"


def advice(decision: Decision) -> str:
    """Say why an image was held back and which rung would help."""
    codes = dict.fromkeys(reason.code for reason in decision.reasons)
    if "still-readable" in codes:
        codes.pop("identifying-text", None)
    helps = [_HELP[code] for code in codes if code in _HELP]
    said = f"Risk {decision.risk}, because of {', '.join(codes) or 'nothing that is known'}"
    return f"{said}; what would help: {'; '.join(helps)}" if helps else said


@lru_cache(maxsize=1)
def _built_in() -> RuleSet:
    return load_rules()
