"""The chat tests of llm-comply, an independent conformance suite with a strict JSON schema."""

import json
import pathlib
import subprocess
import sys


def test_openai_chat_conforms(dac):
    command = [str(pathlib.Path(sys.executable).with_name("llm-comply")), "run", "-u", f"{dac.url}/v1", "-k", dac.key]
    done = subprocess.run(
        [*command, "-m", "mock/gpt-4o-mini", "--format", "openai-chat", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    report = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(report, indent=1)[:4000]
