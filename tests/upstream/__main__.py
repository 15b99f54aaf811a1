"""`python -m tests.upstream --port N`: the mock upstream as a process of its own."""

import argparse
import asyncio

from tests.upstream.server import Upstream


async def _run(host: str, port: int) -> None:
    async with Upstream(host=host, port=port) as upstream:
        print(upstream.base_url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(arguments.host, arguments.port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
