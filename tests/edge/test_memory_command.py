"""`dac memory`: remembering, finding, taking along and forgetting, against a running DAC."""

import json
import time

import pytest
from typer.testing import CliRunner

from mesh.cli import application


@pytest.fixture
def memory(dac):
    """Runs `dac memory …`; what it printed."""

    def run(*arguments, code=0, stdin=None):
        env = {"DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
        done = CliRunner().invoke(application(), ["memory", *arguments], env=env, input=stdin)
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    return run


@pytest.fixture
def agent():
    return f"agent-{time.time_ns()}"


def test_a_fact_is_kept_found_replaced_and_shown(memory, agent):
    fact = memory("add", "--fact", "--pinned", "--agent", agent, "Ada lives in Bergen").strip()
    again = memory("add", "--fact", "--agent", agent, "Ada lives in Bergen")
    assert again.startswith(fact) and "same text" in again
    newer = memory("add", "--fact", "--agent", agent, "--replaces", fact, "Ada lives in Oslo").strip()
    found = json.loads(memory("search", "Where does Ada live?", "--agent", agent, "--json"))["memories"]
    # Beside the agent's own there is what the organisation remembers from other tests.
    assert [one["memory"]["memory_id"] for one in found if one["memory"].get("agent_id") == agent] == [newer]
    assert "Ada lives in Oslo" in memory("search", "Where does Ada live?", "--agent", agent)
    shown = json.loads(memory("show", fact, "--json"))
    assert shown["memory"]["superseded_by"] == newer
    assert [one["action"] for one in shown["changes"]] == ["created", "superseded"]
    assert "Ada lives in Bergen" in memory("show", fact) and "superseded" in memory("show", fact)
    listed = memory("list", "--kind", "fact", "--agent", agent)
    assert fact in listed and "fact, pinned" in listed and newer in listed
    assert json.loads(memory("list", "--kind", "note", "--agent", agent, "--json"))["memories"] == []


def test_memories_are_taken_along_and_forgotten(memory, agent, tmp_path):
    ids = [memory("add", "-", "--agent", agent, stdin=f"note {number} on the bakery").strip() for number in range(3)]
    file = tmp_path / "memories.jsonl"
    memory("export", "--agent", agent, "--to", str(file))
    assert [json.loads(line)["memory_id"] for line in file.read_text().splitlines()] == ids
    assert memory("export", "--agent", agent) == file.read_text()
    assert "without --yes" in memory("forget", ids[0], code=1)
    assert memory("forget", ids[0], "--yes") == "erased 1\n"
    assert memory("forget", "--agent", agent, "--kind", "note", "--yes") == "erased 2\n"
    assert json.loads(memory("list", "--agent", agent, "--json"))["memories"] == []
    assert "say which" in memory("forget", "--yes", code=2)
    assert "say which" in memory("forget", "--everything", "--agent", agent, "--yes", code=2)
    assert "none of turn, fact, note" in memory("list", "--kind", "rumour", code=2)
    assert "--fact as well" in memory("add", "--from", "2026-01-01T00:00:00Z", "a note", code=2)
