"""The rules of the house: who imports whom, sizes, names, docstrings, one room plan, one list of reasons."""

import ast
import functools
import pathlib
import re

import pytest

from dac.type.v1 import error_pb2
from mesh.app import TARGETS, start_order
from mesh.errors import CODES, Reason
from mesh.permissions import PERMISSIONS, SERVICES

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted(path for top in ("mesh", "services", "bench") for path in (ROOT / top).rglob("*.py"))
SERVICE_NAMES = sorted(TARGETS)
DRIVERS = {"grpc", "asyncpg", "redis", "weaviate", "aiohttp"}


@functools.cache
def read(path):
    """What a file says at its top, what it imports anywhere, and its functions with their lines. The trees are not
    kept: looking for garbage among all of them took longer than everything else here."""
    tree = ast.parse(path.read_text())
    imports, functions = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append((node.name, (node.end_lineno or 0) - node.lineno))
    return ast.get_docstring(tree), imports, functions


def imports_of(path):
    return read(path)[1]


def strangers(service, imported):
    """Other services that `imported` names reach into."""
    return {
        name for name in imported if re.match(r"services\.\w+", name) and not name.startswith(f"services.{service}")
    }


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_imports_no_other_service(service):
    for path in (ROOT / "services" / service).rglob("*.py"):
        assert not strangers(service, imports_of(path)), path


def test_the_import_rule_can_fail():
    assert strangers("router", {"services.budget.prices.money"}) and not strangers(
        "router", {"services.router.policies.policy"}
    )


def test_only_the_table_knows_services():
    for path in (ROOT / "mesh").rglob("*.py"):
        assert not any(name.startswith("services") for name in imports_of(path)), path


def at_the_top(body):
    """What a module does when it is imported, and what it imports for its types: all but the inside of functions."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody", "handlers"):
                yield from at_the_top(getattr(node, part, ()))


def imported_modules(text, modules):
    """Those of `modules` that a module of this text imports at its top."""
    found = set()
    for node in at_the_top(ast.parse(text).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            # A package's own file is imported for what is no module of it.
            found |= inside if inside <= modules.keys() else inside | {node.module}
    return found & modules.keys()


def in_circles(modules):
    """The modules, name → text, that reach themselves over what they import."""
    graph = {name: imported_modules(text, modules) - {name} for name, text in modules.items()}
    while leaves := {name for name, imported in graph.items() if not imported}:
        graph = {name: imported - leaves for name, imported in graph.items() if name not in leaves}
    # Whoever only imports from a circle is not of it.
    while unasked := graph.keys() - set().union(*graph.values()):
        graph = {name: imported for name, imported in graph.items() if name not in unasked}
    return sorted(graph)


def test_no_files_import_each_other_in_a_circle():
    paths = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("mesh", "services")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    circle = in_circles({name: path.read_text() for name, path in zip(names, paths, strict=True)})
    assert not circle, "they import each other: move what they share to a file of its own, or hand it in"


def test_the_rule_of_circles_can_fail():
    way = {"mesh.a": "import mesh.b", "mesh.b": "from mesh import c, d", "mesh.d": "", "mesh.asks": "import mesh.a"}
    assert in_circles({**way, "mesh.c": "from mesh.a import x"}) == ["mesh.a", "mesh.b", "mesh.c"]
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mesh.a import X"
    assert in_circles({**way, "mesh.c": typed}) == ["mesh.a", "mesh.b", "mesh.c"]
    assert in_circles({**way, "mesh.c": "def late():\n    import mesh.a"}) == []


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_every_service_has_the_same_rooms(service):
    folder = ROOT / "services" / service
    for room in ("__init__.py", "config.py", "server.py", "errors.py"):
        assert (folder / room).exists(), f"{service}/{room}"
    assert (folder / "__init__.py").read_text().startswith('"""')


PURE = {
    "router": [
        "deciding/scoring.py",
        "deciding/breakers.py",
        "policies/policy.py",
        "policies/policies.py",
        "deciding/decision.py",
        "catalog/catalog.py",
        "learning/learning.py",
        "learning/drift.py",
        "deciding/constraints.py",
        "deciding/expecting.py",
        "deciding/sheet.py",
        "deciding/fallbacks.py",
        "deciding/reasons.py",
        "deciding/refusals.py",
        "deciding/latency.py",
        "policies/intents.py",
        "prompt/ngrams.py",
        "prompt/prompt.py",
        "prompt/structure.py",
        "prompt/pieces.py",
        "prompt/reading.py",
        "prompt/vocabulary.py",
        "prompt/lexicon.py",
        "catalog/ranking.py",
        "prompt/language.py",
        "prompt/predictor.py",
        "prompt/quality_model.py",
        "prompt/quality_features.py",
        "resolving/resolution.py",
        "resolving/tokens.py",
        "resolving/rules.py",
        "experiments/experiments.py",
        "experiments/arms.py",
        "experiments/form.py",
        "experiments/experiment_errors.py",
        "experiments/significance.py",
    ],
    "budget": [
        "prices/money.py",
        "ledger/windows.py",
        "ledger/ledger.py",
        "prices/book.py",
        "limits/rate_limits.py",
        "limits/limiter.py",
    ],
    "memory": [
        "conversations/window.py",
        "conversations/threads.py",
        "conversations/tree.py",
        "vectors/matrix.py",
        "embedding/wordpiece.py",
        "embedding/hashed_embedder.py",
        "vectors/collections.py",
        "vectors/mirror.py",
    ],
    "gateway": [
        "identity/key_tokens.py",
        "sharing/coalescing.py",
        "sharing/cache_control.py",
        "sharing/replay.py",
        "sharing/replay_anthropic.py",
        "sharing/replay_responses.py",
        "validation/arithmetic.py",
        "validation/code_check.py",
        "validation/effort.py",
        "validation/fences.py",
        "validation/grammars.py",
        "validation/nli_onnx.py",
        "validation/outcome.py",
        "validation/quality.py",
        "validation/schema_check.py",
        "validation/sentences.py",
        "validation/shape.py",
        "validation/subject.py",
        "validation/support.py",
        "validation/tongues.py",
        "validation/toxic_words.py",
        "validation/toxicity.py",
        "validation/validator.py",
    ],
    "provider": ["splice.py", "calling/events.py"],
}


@pytest.mark.parametrize(("service", "name"), [(service, name) for service, names in PURE.items() for name in names])
def test_domain_files_are_plain_python(service, name):
    imported = imports_of(ROOT / "services" / service / name)
    assert not {one for one in imported if one.split(".")[0] in DRIVERS or "_pb2" in one}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_small_named_and_introduced(path):
    text = path.read_text()
    docstring, _, functions = read(path)
    assert len(text.splitlines()) <= 600
    assert path.stem not in {"utils", "helpers", "common", "misc", "base", "manager"}
    assert not text.strip() or docstring, "say at the top what the file is for"
    for name, lines in functions:
        assert lines <= 75, f"{name} is too long"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_config_reads_the_environment(path):
    # What starts processes passes its environment on.
    allowed = {"config.py", "app.py", "run.py", "launcher.py", "local.py"}
    if path.name in allowed or "bench" in path.parts or "cli" in path.parts:
        return
    reads = re.findall(r"os\.environ(?!\.setdefault\()|getenv\(", path.read_text())
    assert not reads


def test_no_sql_is_built_from_text():
    built = re.compile(r"""f["'](?:SELECT|INSERT INTO|UPDATE|DELETE FROM)\b""")
    for path in SOURCES:
        if path.name != "migrate.py":  # Roles and schemas have no parameters; it quotes them with format(%I, %L).
            assert not built.search(path.read_text()), path


def test_no_todo_without_an_owner():
    for path in SOURCES:
        assert not re.search(r"TODO(?!\()", path.read_text()), path


def test_reasons_are_the_protos():
    names = {name.removeprefix("ERROR_REASON_"): number for name, number in error_pb2.ErrorReason.items()}
    assert names == {reason.name: int(reason) for reason in Reason}
    assert set(CODES) == set(Reason)
    # A newer process may know more.
    assert Reason(max(Reason) + 100) is Reason.INTERNAL


def test_every_rpc_has_a_permission_and_no_permission_is_stale():
    from google.protobuf import descriptor_pb2

    described = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "descriptors.binpb").read_bytes())
    methods = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in described.file
        if file.package.startswith("dac.")
        for service in file.service
        for method in service.method
    }
    assert methods == {method for method in PERMISSIONS if method.startswith("/dac.")}
    assert {method for allowed in SERVICES.values() for method in allowed} <= methods
    assert set(SERVICES) == set(TARGETS)


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_the_table_says_whom_a_service_calls(service):
    """Addresses, NetworkPolicy and Envoy are made from it: whoever is missing there is not reached in a cluster."""
    text = "".join(path.read_text() for path in (ROOT / "services" / service).rglob("*.py"))
    called = set(re.findall(r'channel_to\("(\w+)"\)', text)) | ({"audit"} if "append_to_audit(" in text else set())
    assert called - {service} <= {*TARGETS[service].needs, *TARGETS[service].tells}


def test_start_order_puts_what_is_needed_first():
    order = start_order(TARGETS)
    for name, target in TARGETS.items():
        for needed in target.needs:
            assert order.index(needed) < order.index(name)


def test_nothing_names_a_registry_or_a_machine():
    hosts = re.compile(r"pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian\.org|/root/|/work/")
    suffixes = {".py", ".md", ".yml", ".yaml", ".toml", ".txt", ".sql", ".proto", ""}
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        if inside[0].startswith((".venv", ".git", "gen", "data")) or "node_modules" in inside or path.is_dir():
            continue
        if "__pycache__" in inside or (inside[0].startswith(".") and inside[0] not in (".ci", ".github")):
            continue
        if path.suffix in suffixes and path != pathlib.Path(__file__):
            assert not hosts.search(path.read_text(errors="ignore")), path
