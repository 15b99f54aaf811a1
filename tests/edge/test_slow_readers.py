"""A client that reads slowly gets its stream byte for byte, and the provider is not read faster than that."""

import socket
import time

from tests.edge.test_failures import until

WORDS = 30_000


def test_a_stream_to_a_slow_reader_is_whole(dac, upstream_process):
    text = " ".join(f"word{number}" for number in range(WORDS))
    upstream_process.script("ok", text=text)
    host, port = dac.url.removeprefix("http://").split(":")
    body = b'{"model":"mock/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello there"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {dac.key}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect((host, int(port)))
        client.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        received = bytearray()
        # Behind the first piece, so that the rest finds nobody who reads.
        received += client.recv(1024)
        time.sleep(0.2)
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(1 << 20)
    at = -1
    for number in range(0, WORDS, 97):
        at = received.find(b"word%d" % number, at + 1)
        assert at >= 0, f"word {number} is missing or stands before another"
    assert received.count(b"word") == WORDS and received.count(b"[DONE]") == 1
    request_id = bytes(received).split(b"x-dac-request-id: ")[1].split(b"\r\n")[0].decode()
    record = until(lambda: dac.get(f"/v1/requests/{request_id}").json().get("request"))
    assert record["outcome"] == "OUTCOME_OK"
