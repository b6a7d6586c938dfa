"""A child process that ends at once when anything opens a connection; run by the tests."""

import os
import socket
from typing import Any

from app.pixels import child


def refuse(*_: Any) -> Any:
    os._exit(9)


if __name__ == "__main__":
    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse
    child.main()
