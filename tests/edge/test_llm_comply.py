"""llm-comply, an independent conformance suite with a strict JSON schema: every wire format of a running DAC."""

import json
import pathlib
import subprocess
import sys

import pytest

from tests.edge.conftest import make_dac

MORE = """
  - {id: mock/deepseek-r1, provider: mock, name: deepseek-r1, context_tokens: 200000, quality: 0.1,
     capabilities: [tools, images, json], price: {input_usd_per_mtok: "1", output_usd_per_mtok: "5"}}
  - {id: claude/claude-sonnet-4-5, provider: claude, name: claude-sonnet-4-5, context_tokens: 200000, quality: 0.1,
     capabilities: [tools, images], price: {input_usd_per_mtok: "3", output_usd_per_mtok: "15"}}
"""


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    running = make_dac(tmp_path_factory.mktemp("comply"), upstream_process, more=MORE)
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.mark.parametrize(
    ("form", "model", "passed"),
    [
        # Its tests of reasoning are for names such as these only.
        ("openai-chat", "mock/deepseek-r1", 9),
        ("anthropic", "claude/claude-sonnet-4-5", 9),
        # Two of these are of /responses/compact, and take its absence for an answer.
        ("open-responses", "mock/deepseek-r1", 13),
    ],
)
def test_every_wire_format_conforms(dac, form, model, passed):
    command = [str(pathlib.Path(sys.executable).with_name("llm-comply")), "run", "-u", f"{dac.url}/v1", "-k", dac.key]
    done = subprocess.run(
        [*command, "-m", model, "--format", form, "--json"], capture_output=True, text=True, timeout=60
    )
    report = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(report, indent=1)[:4000]
    assert report["summary"]["passed"] == passed and report["summary"]["failed"] == 0
