"""Work that goes on under a key, such as streams: it ends within a minute of its key."""

import itertools
import logging
from collections.abc import Awaitable, Callable

from mesh.errors import MeshError, Reason
from mesh.rounds import Rounds

LOOK_EVERY_S = 5.0
_GONE = (Reason.INVALID_CREDENTIAL, Reason.MISSING_CREDENTIAL)
_log = logging.getLogger("dac.gateway.running")
End = Callable[[MeshError], None]
"""Ends one piece of work; it is told why."""


class Running:
    """What runs now, by the credential it was begun with. Those are looked at again in rounds, each once."""

    def __init__(self, check: Callable[[str], Awaitable[object]], every_s: float = LOOK_EVERY_S) -> None:
        """`check` raises MeshError for an Authorization header that is good no more."""
        self._check = check
        self._work: dict[int, tuple[str, End]] = {}
        self._numbers = itertools.count()
        meanwhile = "keys of running work could not be looked at"
        rounds = Rounds("running-keys", self.look, every_s, _log, meanwhile=meanwhile, at_once=False)
        self.start, self.close = rounds.start, rounds.close

    def begin(self, authorization: str, end: End) -> Callable[[], object]:
        """Notes a piece of work; what comes back is called when it has ended by itself."""
        number = next(self._numbers)
        self._work[number] = authorization, end
        return lambda: self._work.pop(number, None)

    async def look(self) -> None:
        """Ends the work of every key that was revoked or has expired. A database that is away ends nothing."""
        for authorization in {authorization for authorization, _ in self._work.values()}:
            try:
                await self._check(authorization)
            except MeshError as error:
                if error.reason not in _GONE:
                    continue
                for held, end in list(self._work.values()):
                    if held == authorization:
                        end(error)
