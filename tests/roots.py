"""Which certificate authorities the tests' clients know: one, since none of them meets a server of the world.

Reading the hundreds that a machine or certifi brings costs each client of httpx 20 ms, and the tests make thousands.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import certifi
import pytest

NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
END = "-----END CERTIFICATE-----"
_of_the_machine = {name: os.environ.get(name) for name in NAMES}


@contextlib.contextmanager
def one(file: pathlib.Path) -> Iterator[None]:
    """Writes one root into `file`: this process and all that it starts know no other."""
    file.write_text(f"{certifi.contents().partition(END)[0]}{END}\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        patch.setenv("SSL_CERT_FILE", str(file))
        patch.setattr(certifi, "where", lambda: str(file))
        yield


@contextlib.contextmanager
def of_the_machine() -> Iterator[None]:
    """What is started meanwhile knows what the machine knows: it downloads."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _of_the_machine.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        yield
