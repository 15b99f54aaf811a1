"""The image's health check: asks whichever port is served here, probes first. The image has no curl on purpose."""

import http.client
import os
import sys

TIMEOUT_S = 2


def live(port: int) -> bool:
    """Whether GET /live on this machine's `port` is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# `dac up --workers` and `--split` serve no probe port; processes without the gateway serve no HTTP port.
ports = [int(os.environ.get(name) or default) for name, default in (("DAC_PROBE_PORT", 0), ("DAC_HTTP_PORT", 8000))]
sys.exit(0 if any(live(port) for port in ports if port) else 1)
