"""The operator's token: a file of this machine that nobody else may read."""

import contextlib
import os
import pathlib
import secrets

from services.gateway.identity import key_tokens


def read_operator_token(path: pathlib.Path) -> str:
    """The operator's token from its file (0600), made at the first start."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.touch(0o600)
        draft.write_text(key_tokens.new_token(secrets.choice, "operator"))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
