"""Keeps the embedded server up for as long as this process uses it.

The guardian ends with the server that it guards, so after a ``kill -9`` of either of them nobody
is left who would start it again: every process that uses the server looks after it.
"""

import threading
from typing import Final

from app import errors, telemetry
from app.db.embedded import EmbeddedPostgres

LOOK_EVERY_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
STOP_TIMEOUT_S: Final = 5.0


class KeptPostgres:
    """An embedded server that is started again when it was lost.

    Several processes may keep one server: starts exclude each other, and who comes second finds it
    running. A cluster that was deleted under the server is not made anew.

    Args:
        server: the server; nobody else may call its ``start`` and ``stop`` meanwhile.
        look_every_s: how often to look, which is also the first pause after a failed start.
    """

    def __init__(self, server: EmbeddedPostgres, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._server = server
        self._look_every_s = look_every_s
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="database-keeper", daemon=True)

    def start(self) -> str:
        """Start the server and return the URL of the gateway's database.

        Raises:
            Misconfigured, DatabaseUnavailable: see ``EmbeddedPostgres.start``.
        """
        url = self._server.start()
        self._thread.start()
        return url

    def stop(self) -> None:
        """Give the server back.

        A start that is under way is not waited for to its end: the process is about to leave, and
        the kernel takes its lease back.
        """
        self._leaving.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._server.stop()

    def _keep(self) -> None:
        pause_s = self._look_every_s
        while not self._leaving.wait(pause_s):
            if not self._server.is_lost():
                pause_s = self._look_every_s
            elif self._restart():
                telemetry.log().warning("database-restarted")
            else:
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _restart(self) -> bool:
        try:
            self._server.start()
        except (errors.GatewayError, OSError) as error:
            kind = getattr(error, "code", type(error).__name__)
            telemetry.log().error("database-restart-failed", code=kind)
            return False
        return True
