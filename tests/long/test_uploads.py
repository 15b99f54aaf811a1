"""The largest upload that OpenAI takes, through every hop between services."""

import hashlib

import pytest

from tests.edge.conftest import make_dac
from tests.edge.test_audio import speak, upload
from tests.upstream.audio import SOUND, TEXT


@pytest.mark.long
def test_an_upload_as_large_as_openai_takes_passes_between_processes(tmp_path, upstream_process):
    split = make_dac(tmp_path, upstream_process, "--split")
    split.env["DAC_GATEWAY_MAX_BODY_BYTES"] = "27262976"
    split.start()
    try:
        large = b"\xff\xfb" * (25 << 19)
        answer = upload(split, data=large)
        assert answer.status_code == 200 and answer.json()["text"] == TEXT, answer.text
        sent = upstream_process.requests()[-1]["body"]
        assert sent["sha256"]["file"] == hashlib.sha256(large).hexdigest()
        assert speak(split).content == SOUND
        assert upload(split, data=large + b"x" * (1 << 20)).status_code == 413
    finally:
        assert split.stop() == 0, split.log()
