"""A server that only listens: what an official SDK sends to it is what an adapter must send, too."""

import contextlib
import dataclasses
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass
class Sent:
    """One request of an SDK."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The JSON in it."""
        return json.loads(self.raw)


Answer = Callable[[Sent], tuple[str, bytes]]
"""What is answered: (content type, body)."""


@contextlib.contextmanager
def listening(answer: Answer) -> Iterator[tuple[str, list[Sent]]]:
    """(its address, what came)."""
    sent: list[Sent] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            sent.append(Sent(self.path, {name.lower(): value for name, value in self.headers.items()}, raw))
            kind, body = answer(sent[-1])
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
