"""Where a request's state holds the event that is set when the server stops.

On its own, so that who only waits for it needs no server.
"""

from typing import Final

STOPPING: Final = "stopping"
