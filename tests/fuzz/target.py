"""What the fuzzer calls: one input through the tokeniser and the pipeline."""

from app import pipeline
from app.deid.profile import BUILT_IN
from app.dicom import part10
from app.dicom.source import MemorySource
from app.dicom.tokens import Limits
from app.errors import GatewayError
from app.vault.pseudonyms import Pseudonyms

LIMITS = Limits(
    max_header_bytes=1 << 20, max_elements=20_000, max_depth=16, max_converted_bytes=8 << 20
)
CONTEXT = pipeline.Context("DEMO", BUILT_IN["basic"], Pseudonyms(b"k" * 32, "DEMO"), LIMITS)


class Broken(Exception):
    """The result contradicts itself."""


def check(data: bytes) -> None:
    """Take one input; only an error outside the tree, or a broken result, gets out."""
    try:
        part10.read(MemorySource(data), LIMITS)
        result = pipeline.deidentify(MemorySource(data), CONTEXT)
    except GatewayError:
        return
    written = b"".join(result.chunks())
    if len(written) != result.size:
        raise Broken("The size is not what was announced")
    if part10.read(MemorySource(written), Limits()).anomalies:
        raise Broken("The result has faults of its own")
