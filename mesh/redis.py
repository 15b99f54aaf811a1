"""Small shared values with a life time: Redis or Valkey when there is one, this process's memory when not.

Nothing here may be the truth: a call never raises and never waits longer than it is told, by default 50 ms. When the
server goes away, calls are answered from memory until a background task finds it again.
"""

import time
from collections.abc import Callable

from mesh.key_values import CALL_TIMEOUT_S, KeyValueStore, MemoryStore


async def connect(
    url: str | None, *, now: Callable[[], float] = time.monotonic, call_timeout_s: float = CALL_TIMEOUT_S
) -> KeyValueStore:
    """The store at `url` (redis://, rediss://, unix://), or one in memory. Returns at once if the server is down."""
    if url is None:
        return MemoryStore(now)
    # Here, because most processes need no Redis, and its client is a tenth of all that they would load.
    from mesh.redis_store import RedisStore

    return RedisStore(url, MemoryStore(now), call_timeout_s=call_timeout_s)
