"""What every error has, and those of start-up."""

from typing import ClassVar


class GatewayError(Exception):
    """Base of everything the gateway says no with.

    Args:
        detail: one sentence for the caller; never a value that came out of an instance.
        path: element path such as ``(0040,A730)[3].(0040,A160)`` where one is to blame.
    """

    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The gateway could not do this"

    def __init__(self, detail: str | None = None, *, path: str | None = None) -> None:
        self.detail = detail or self.title
        self.path = path
        super().__init__(f"{self.detail} at {path}" if path else self.detail)


class Misconfigured(GatewayError):
    """The settings, keys or files at start are not safe to run with."""

    code = "misconfigured"
    title = "The gateway is not configured safely"
