"""Variables that nothing reads are noticed, those of others are left alone."""

from __future__ import annotations

import ast
import json
import logging
import pathlib

import pytest
from typer.testing import CliRunner

from mesh.app import load_settings
from mesh.cli import application
from mesh.cli.doctor import check_variables
from mesh.launcher import run_in_loop

ROOT = pathlib.Path(__file__).resolve().parents[3]
WRONG = {"DAC_HTTP_PROT": "8080", "DAC_GATEWAY_MAX_BODY_BYTE": "1", "DAC_SOMETHING_ELSE_ALTOGETHER": "x"}
TOLD = (
    ("DAC_GATEWAY_MAX_BODY_BYTE", "DAC_GATEWAY_MAX_BODY_BYTES"),
    ("DAC_HTTP_PROT", "DAC_HTTP_PORT"),
    ("DAC_SOMETHING_ELSE_ALTOGETHER", ""),
)


def test_a_misspelt_name_is_told_with_the_nearest() -> None:
    assert load_settings(env=WRONG).unknown == TOLD


@pytest.mark.parametrize(
    "env",
    [
        {"DAC_HTTP_PORT": "1", "DAC_GATEWAY_CACHE_MODE": "exact", "DAC_OFFLINE": "true", "PATH": "/bin", "DACHS": "x"},
        {"DAC_HTTP_PROT": ""},
        {"DAC_SEED": "1", "DAC_READY_FD": "3", "DAC_API_KEY": "k", "DAC_CONFIG": ""},
        # What Kubernetes says of services called dac and dac-gateway.
        {
            "DAC_SERVICE_HOST": "10.0.0.1",
            "DAC_SERVICE_PORT": "8000",
            "DAC_SERVICE_PORT_HTTP": "8000",
            "DAC_PORT": "tcp://10.0.0.1:8000",
            "DAC_GATEWAY_PORT": "tcp://10.0.0.1:8000",
            "DAC_GATEWAY_PORT_8000_TCP": "tcp://10.0.0.1:8000",
            "DAC_GATEWAY_PORT_8000_TCP_ADDR": "10.0.0.1",
        },
    ],
)
def test_names_of_others_are_left_alone(env: dict[str, str]) -> None:
    assert load_settings(env=env).unknown == ()


def test_a_variable_that_the_file_names_is_read(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "dac.yaml"
    provider = '{kind: openai, base_url: "https://a.example/v1", api_key: {env: DAC_MY_OWN_PROVIDERS_KEY}}'
    file.write_text(f"providers: {{x: {provider}}}")
    assert load_settings(file, env={"DAC_MY_OWN_PROVIDERS_KEY": "k"}).unknown == ()


def read_names(file: pathlib.Path) -> set[str]:
    """The variables that a file of Python asks the environment for."""
    found, text = set[str](), file.read_text()
    # Taking apart a whole tree takes seconds.
    if "environ" not in text or '"DAC_' not in text:
        return found
    for node in ast.walk(ast.parse(text)):
        asked: ast.expr | None = None
        if isinstance(node, ast.Call) and "environ" in ast.unparse(node.func) and node.args:
            asked = node.args[0]
        elif isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            asked = node.slice
        if isinstance(asked, ast.Constant) and str(asked.value).startswith("DAC_"):
            found.add(str(asked.value))
    return found


def test_everything_that_the_code_and_its_tests_read_is_known() -> None:
    files = [file for folder in ("mesh", "services", "tests", "bench") for file in (ROOT / folder).rglob("*.py")]
    names = set().union(*map(read_names, files))
    assert {"DAC_CONFIG", "DAC_SEED", "DAC_READY_FD", "DAC_BACKUP_PASSPHRASE"} <= names
    assert load_settings(env=dict.fromkeys(names - {"DAC_CONFIG"}, "1") | {"DAC_DATA_DIR": "x"}).unknown == ()


def test_the_check_and_the_doctor_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(application(), ["config", "check"])
    assert done.exit_code == 0 and 'DAC_HTTP_PROT is set, and nothing reads it: did you mean "DAC_HTTP_PORT"?' in (
        " ".join(done.stderr.split())
    )
    told = json.loads(CliRunner().invoke(application(), ["config", "check", "--json"]).stdout)["unknown"]
    assert [(one["variable"], one["nearest"]) for one in told] == list(TOLD)
    checks = list(check_variables(load_settings()))
    assert [one.ok for one in checks] == [False] * 3 and checks[1].mend == "rename it to DAC_HTTP_PORT, or unset it"
    assert list(check_variables(None)) == []


@pytest.mark.parametrize("child", [False, True])
def test_the_start_tells_it_once(
    child: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> int:
        return 0

    monkeypatch.setattr("mesh.launcher.logs.set_up", lambda *_: None)
    if child:
        monkeypatch.setenv("DAC_READY_FD", "0")
    with caplog.at_level(logging.WARNING):
        run_in_loop(main, load_settings(env=WRONG), "up")
    assert ("DAC_HTTP_PROT is set" in caplog.text) is not child
