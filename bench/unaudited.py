"""The gateway with its audit rows left out, to measure what they cost. Never to be used otherwise.

``python -m bench.unaudited serve …`` is what ``deid-gateway serve …`` is.
"""

from typing import Any

from app.audit.repository import AuditTrail
from app.cli import main


async def _no_lock(*_: Any) -> None:  # noqa: ANN401 - as the method that it stands for
    """Lock nothing."""


async def _no_rows(*_: Any) -> None:  # noqa: ANN401 - as the method that it stands for
    """Append nothing."""


if __name__ == "__main__":
    AuditTrail.lock = _no_lock  # type: ignore[method-assign,assignment]
    AuditTrail.append = _no_rows  # type: ignore[method-assign]
    main()
