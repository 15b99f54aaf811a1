"""The configuration: what wins, what is refused and how, and the page that describes it."""

import json
import pathlib

import pytest
import yaml
from typer.testing import CliRunner

from mesh.app import SHIPPED_CONFIG, TARGETS, load_settings
from mesh.cli import application
from mesh.config import ConfigError, MeshConfig, field_docs
from mesh.configuration_page import page

ROOT = pathlib.Path(__file__).resolve().parents[3]


def write(folder: pathlib.Path, text: str, name: str = "dac.yaml") -> pathlib.Path:
    path = folder / name
    path.write_text(text)
    return path


def test_flags_beat_environment_beats_file_beats_default(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, "gateway: {http_port: 1001, grpc_port: 1002}\n")
    env = {"DAC_HTTP_PORT": "2001"}

    def port(**more: object) -> int:
        return int(load_settings(file, env=env, **more).services["gateway"].http_port)  # type: ignore[arg-type]

    assert port(flags={"gateway": {"http_port": 3001}}) == 3001
    assert port() == 2001
    env.clear()
    assert port() == 1001
    assert load_settings(env={}).services["gateway"].http_port == 8000
    assert load_settings(file, env={"DAC_HTTP_PORT": ""}).services["gateway"].http_port == 1001


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gatway: {}", 'unknown section "gatway" (did you mean "gateway"?)'),
        ("gateway: {http_prt: 1}", 'gateway: unknown key "http_prt" (did you mean "http_port"?)'),
        ("gateway: {http_port: many}", "gateway.http_port: a number is needed"),
        ("gateway: {auth: maybe}", 'auth must be "on" or "off"'),
        ("gateway: {http_port: 1, http_port: 2}", "defined twice"),
        ("gateway: [", "not valid YAML"),
        ("gateway:\n\tauth: on", "dac.yaml, line 2, column 1: not valid YAML"),
        ("gateway: {http_port: 99999}", "http_port is 99999: set a port, 1 to 65535"),
        ('providers: {x: {kind: openai, base_url: "no url"}}', 'providers.x.base_url: "no url" is not an address'),
        ("- 1", "a mapping of sections"),
        ("providers: {mine: {kind: openai}}", 'providers.mine: "base_url" is missing'),
        ("models: [{id: x/y, provider: nowhere, context_tokens: 1}]", 'there is no provider "nowhere"'),
        (
            'models: [{id: openai/y, provider: openai, context_tokens: 1, price: {input_usd_per_mtok: "-1"}}]',
            "negative",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: pathlib.Path, text: str, said: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, env={})
    assert said in caught.value.message
    done = CliRunner().invoke(application(), ["config", "check", "--config", str(file)])
    assert done.exit_code == 2 and said in done.stderr
    told = CliRunner().invoke(application(), ["config", "check", "--config", str(file), "--json"])
    assert told.exit_code == 2 and json.loads(told.stdout)["valid"] is False


def test_a_variable_that_is_not_set_is_told_with_its_place(tmp_path: pathlib.Path) -> None:
    key = "api_key: {env: NO_SUCH_KEY_HERE}"
    file = write(tmp_path, f'providers: {{x: {{kind: openai, base_url: "https://a.example/v1", {key}}}}}')
    assert load_settings(file, env={}).unset == (("providers.x.api_key", "NO_SUCH_KEY_HERE"),)
    assert load_settings(file, env={"NO_SUCH_KEY_HERE": "k"}).unset == ()
    done = CliRunner().invoke(application(), ["config", "check", "--config", str(file)])
    assert done.exit_code == 0 and "providers.x.api_key: NO_SUCH_KEY_HERE is not set" in done.stderr
    told = json.loads(CliRunner().invoke(application(), ["config", "check", "--config", str(file), "--json"]).stdout)
    assert told["unset"] == [{"place": "providers.x.api_key", "variable": "NO_SUCH_KEY_HERE"}]


def test_auth_off_stays_on_loopback(tmp_path: pathlib.Path) -> None:
    assert load_settings(write(tmp_path, 'gateway: {auth: "off"}'), env={}).services["gateway"].auth == "off"
    with pytest.raises(ConfigError, match="only for loopback"):
        load_settings(write(tmp_path, 'gateway: {auth: "off", http_host: 0.0.0.0}'), env={})


def test_a_folder_is_merged_and_a_key_in_two_files_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "gateway: {http_port: 1001}", "a.yaml")
    write(tmp_path, "mesh: {drain_s: 5}", "b.yaml")
    settings = load_settings(tmp_path, env={})
    assert (settings.services["gateway"].http_port, settings.mesh.drain_s) == (1001, 5)
    write(tmp_path, "mesh: {drain_s: 6}", "c.yaml")
    with pytest.raises(ConfigError, match="also defined in"):
        load_settings(tmp_path, env={})


def test_secrets_are_never_shown(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-hidden-in-variable")
    monkeypatch.setenv("DATABASE_URL", "postgresql://dac:hidden-password@db/dac")
    monkeypatch.setenv("DAC_BOOTSTRAP_API_KEY", "dac_test_hidden")
    write(tmp_path, "sk-hidden-in-file\n", "key")
    file = write(
        tmp_path,
        "providers:\n  openai: {api_key: {env: SOME_KEY}}\n"
        f"  mistral: {{api_key: {{file: {tmp_path / 'key'}}}}}\n  openrouter: {{api_key: sk-hidden-plain}}\n",
    )
    for more in ([], ["--json"]):
        done = CliRunner().invoke(application(), ["config", "show", "--config", str(file), *more])
        assert done.exit_code == 0 and "hidden" not in done.stdout + done.stderr
        shown = json.loads(done.stdout) if more else yaml.safe_load(done.stdout)
        assert {name: shown["providers"][name]["api_key"] for name in ("openai", "mistral", "openrouter")} == {
            "openai": "***",
            "mistral": "***",
            "openrouter": "***",
        }
        assert shown["mesh"]["database_url"] == "***"
        assert str(file) in done.stdout


@pytest.mark.parametrize("cls", [MeshConfig, *(target.config_class() for target in TARGETS.values())])
def test_every_field_says_what_it_is(cls: type) -> None:
    assert set(field_docs(cls)) == set(cls.__dataclass_fields__)


def test_the_committed_page_is_fresh() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "docs/configuration.md is stale: run `dac config docs`"


def test_the_shipped_files_may_be_copied_and_changed(tmp_path: pathlib.Path) -> None:
    for file in SHIPPED_CONFIG.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    shipped, copied = load_settings(env={}), load_settings(tmp_path, env={})
    assert copied.catalog_read_on == shipped.catalog_read_on is not None
    assert [one.model for one in copied.models] == [one.model for one in shipped.models]
    changed = (tmp_path / "models.yaml").read_text().replace(f"read_on: {shipped.catalog_read_on}", "read_on: soon")
    (tmp_path / "models.yaml").write_text(changed)
    with pytest.raises(ConfigError, match="read_on"):
        load_settings(tmp_path, env={})
