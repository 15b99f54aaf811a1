"""The Envoy documents: fresh files, templates that render to the same, the gateway's words, who may call whom."""

import dataclasses
import datetime
import itertools
import re
import secrets
import stat

import msgspec
import pytest
import typer
import yaml
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mesh.app import ROOT, TARGETS
from mesh.cli import envoy as commands
from mesh.config import ConfigError
from mesh.envoy import __main__ as files
from mesh.envoy import certificates, failures, filters, groups, templates
from mesh.envoy.api import http_forms
from mesh.envoy.document import Endpoint, parse_endpoint, to_yaml
from mesh.envoy.edge import EdgeOptions, edge
from mesh.envoy.groups import TOPOLOGIES, Names
from mesh.envoy.sidecar import SidecarOptions, sidecar
from mesh.errors import MeshError, Reason
from services.gateway.api import http_forms as gateway_forms
from services.gateway.config import GatewayConfig
from services.gateway.edge import failures as gateway_failures
from services.gateway.identity import key_tokens
from services.gateway.wire import openai_wire

OPTIONS = files.edge_options("dac")
TEXTS = {
    "dac.fullname": "dac",
    "dac.envoy.trustDomain": "dac.local",
    "dac.envoy.heapBytes": "536870912",
    "dac.envoy.sidecarHeapBytes": "134217728",
    "dac.envoy.otlpHost": "collector",
    "dac.envoy.rateLimitHost": "limits",
}


def run(*arguments):
    app = typer.Typer()
    commands.register(app)
    return CliRunner().invoke(app, ["envoy", *map(str, arguments)])


def test_generated_files_are_fresh(capsys):
    assert files.main(ROOT, check=True) == 0, capsys.readouterr().out


def test_a_file_that_is_not_fresh_is_noticed(tmp_path, capsys):
    files.main(tmp_path, check=False)
    assert files.main(tmp_path, check=True) == 0
    changed, gone = tmp_path / files.PLAIN / "edge.yaml", tmp_path / files.CHART / "edge.yaml.tpl"
    changed.write_text(changed.read_text() + "\n")
    gone.unlink()
    (tmp_path / files.PLAIN / "old.yaml").write_text("")
    assert files.main(tmp_path, check=True) == 1
    said = capsys.readouterr().out
    assert "edge.yaml " in said and "edge.yaml.tpl " in said and "old.yaml " in said


def render(template, texts):
    """What Helm makes of the few expressions that are used."""
    lines, shown = [], [True]
    for line in template.splitlines():
        if found := re.fullmatch(r"\{\{- if include \"([\w.]+)\" \. \}\}", line):
            shown.append(shown[-1] and bool(texts.get(found[1])))
        elif line == "{{- end }}":
            shown.pop()
        elif shown[-1]:
            line = line.replace("{{ .Release.Namespace }}", "dac")
            lines.append(re.sub(r"\{\{ include \"([\w.]+)\" \. \}\}", lambda name: texts[name[1]], line))
    assert shown == [True] and "{{" not in "".join(lines)
    return "\n".join(lines) + "\n"


SWITCHED = (("dac.envoy.tls", "tls"), ("dac.envoy.otlpHost", "otlp"), ("dac.envoy.rateLimitHost", "rate_limit_service"))


@pytest.mark.parametrize("on", list(itertools.product([True, False], repeat=3)))
def test_the_charts_edge_is_the_edge_with_every_mix_of_switches(on):
    template = (ROOT / files.CHART / "edge.yaml.tpl").read_text()
    wanted = dict(zip((name for name, _ in SWITCHED), on, strict=True))
    texts = {**TEXTS, **{name: TEXTS.get(name, "yes") if given else "" for name, given in wanted.items()}}
    tls, otlp, limits = on
    options = dataclasses.replace(
        files.edge_options("dac-gateway-headless"),
        tls=tls,
        otlp=Endpoint("collector", 4317) if otlp else None,
        rate_limit_service=Endpoint("limits", 8081) if limits else None,
        heap_bytes="536870912",
    )
    assert yaml.safe_load(render(template, texts)) == edge(options)


@pytest.mark.parametrize(("topology", "folder"), files.SHIPPED_TOPOLOGIES.items())
@pytest.mark.parametrize("traced", [True, False])
def test_the_charts_sidecars_are_the_sidecars(topology, folder, traced):
    for group in TOPOLOGIES[topology]:
        template = (ROOT / files.CHART / f"{folder}sidecar-{group}.yaml.tpl").read_text()
        options = SidecarOptions(
            group, topology, otlp=Endpoint("collector", 4317) if traced else None, heap_bytes="134217728"
        )
        texts = TEXTS if traced else {**TEXTS, "dac.envoy.otlpHost": ""}
        assert yaml.safe_load(render(template, texts)) == sidecar(options)


def test_a_switch_that_changes_a_line_is_refused():
    with pytest.raises(ValueError, match="instead of adding lines"):
        templates.switched(lambda on: {"a": 2 if on else 1}, ("tls",))


def test_the_yaml_has_no_anchors():
    shared = {"x": [1]}
    text = to_yaml({"a": shared, "b": shared}, "one\ntwo")
    assert text.startswith("# one\n# two\n") and "&" not in text and "*" not in text
    assert yaml.safe_load(text) == {"a": shared, "b": shared}


@pytest.mark.parametrize("failure", failures.failures(GatewayConfig().max_body_bytes), ids=lambda one: one.status)
def test_envoys_errors_are_the_gateways(failure):
    metadata = {"field": failure.param} if failure.param else {}
    said = gateway_failures.error_object(MeshError(failure.reason, failure.message, metadata=metadata))
    written = msgspec.json.decode(failure.body())["error"]
    assert failure.type == gateway_failures.error_type(failure.status)
    assert {**said, "type": failure.type} == written


def test_the_body_that_is_too_large_is_told_in_the_gateways_words():
    for size in (10 * 1024 * 1024, 65536, 3_000_000):
        (failure,) = [one for one in failures.failures(size) if one.status == 413]
        assert failure.body().encode() == gateway_failures.error_body(openai_wire.too_large(size))
    assert gateway_failures.STATUS[Reason.TOO_LARGE] == 413


def taken_out(header):
    """What Envoy keeps of an Authorization header."""
    # RE2's "any byte", which Python has no word for.
    return re.sub(filters.KEY_FORM.replace(r"\C", r"[\s\S]"), r"\1", header, count=1)


@given(st.text(alphabet=key_tokens.ALPHABET + "_ -.=:", max_size=200))
def test_nothing_of_a_header_that_is_no_key_is_kept(text):
    kept = taken_out(f"Bearer {text}")
    assert kept == "" or (len(kept) == key_tokens.ID_LENGTH and re.match(rf" *dac_[a-z0-9]+_{kept}_\w{{16}}", text))
    assert taken_out(text) == "" or text.lower().lstrip().startswith("bearer ")


def test_of_a_key_the_public_part_is_kept():
    for environment in ("live", "test", "a1"):
        token = key_tokens.new_token(secrets.choice, environment)
        parsed = key_tokens.parse(token)
        bare = token.rsplit("_", 1)[0]
        forms = (f"Bearer {token}", f"bearer  {token}", f"BEARER {bare}", f"Bearer \t{token}\t", f"Bearer {token},\xff")
        for written in forms:
            assert taken_out(written) == parsed.lookup_id
        assert parsed.secret not in taken_out(f"Bearer {token}")


def test_paths_and_streams_come_from_the_descriptors():
    bindings = gateway_forms.bindings()
    assert {form.template for form in http_forms()} == {one.template for one in bindings}
    for one in bindings:
        path = re.sub(r"\{[^}]*\}", "x1-y", one.template)
        taking = [form for form in http_forms() if re.fullmatch(form.regex, path)]
        assert one.template in {form.template for form in taking}
        # A verb behind a name (`{name}:rollback`) and a word in a name's place (`conversations/import`) are taken by
        # the name's own form, too: all must lead the same way.
        package = one.method.containing_service.file.package
        assert {(form.service.rpartition(".")[0], form.streams) for form in taking} == {
            (package, one.method.server_streaming)
        }


def clusters_of(document):
    return {one["name"]: one for one in document["static_resources"]["clusters"]}


def listeners_of(document):
    return {one["name"]: one for one in document["static_resources"]["listeners"]}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_call_of_the_table_has_a_way_and_no_other_has(topology):
    names = Names("p", "n", "t")
    documents = {group: sidecar(SidecarOptions(group, topology, names)) for group in TOPOLOGIES[topology]}
    wanted = set()
    for group, members in TOPOLOGIES[topology].items():
        for member in members:
            called = {*TARGETS[member].needs, *TARGETS[member].tells} - set(members)
            wanted |= {(group, target) for target in called}
    ways = set()
    for group, document in documents.items():
        clusters = clusters_of(document)
        for name in listeners_of(document):
            if name.startswith("egress_"):
                target = name.removeprefix("egress_")
                ways.add((group, target))
                own, tls = clusters[target], clusters[target]["transport_socket"]["typed_config"]
                assert tls["sni"] == f"p-{target}-headless"
                assert own["health_checks"][0]["grpc_health_check"] == {"service_name": target}
                (san,) = matchers(tls)
                assert san == f"spiffe://t/ns/n/sa/p-{groups.group_of(topology, target)}"
        ingress = listeners_of(document).get("ingress")
        let_in = matchers(ingress["filter_chains"][0]["transport_socket"]["typed_config"]) if ingress else []
        callers = {caller for caller, target in wanted if target in TOPOLOGIES[topology][group]}
        assert set(let_in) == {f"spiffe://t/ns/n/sa/p-{caller}" for caller in callers}
    assert ways == wanted


def matchers(tls):
    context = tls["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    return [one["matcher"]["exact"] for one in context["match_typed_subject_alt_names"]]


def test_egress_ports_follow_the_table():
    assert groups.egress("edge", "edge") == (("budget", 21001), ("audit", 21002), ("memory", 21003))
    # Behind a turn memory asks the models that its operator names; audit is told of purges and of new data keys.
    told = (("budget", 21001), ("audit", 21002), ("provider", 21003), ("router", 21004))
    assert groups.egress("edge", "memory") == told
    assert [name for name, _ in groups.egress("separate", "gateway")] == [t for t in TARGETS if t != "gateway"]


def test_no_list_of_callers_is_no_open_door():
    from mesh.envoy.sds import mutual_server_tls

    with pytest.raises(ValueError, match="every certificate"):
        mutual_server_tls("/x", [])
    assert "ingress" not in listeners_of(sidecar(SidecarOptions("gateway", "separate")))


def test_secrets_are_never_in_the_document():
    text = to_yaml(edge(OPTIONS), "x") + to_yaml(sidecar(SidecarOptions("budget")), "x")
    assert "inline_bytes" not in text and "BEGIN" not in text and "/etc/dac/envoy/sds_certificate.yaml" in text


def test_the_limits_are_the_gateways():
    document = edge(dataclasses.replace(OPTIONS, max_body_bytes=77_777, request_timeout_s=100.0))
    text = to_yaml(document, "x")
    assert "max_request_bytes: 77777" in text and "request_body_buffer_limit: 77777" in text
    assert text.count("max_stream_duration: 105s") == 2 and "max_stream_duration: 0s" in text


@pytest.mark.parametrize(
    ("text", "port", "found"),
    [
        ("dac", 8000, Endpoint("dac", 8000)),
        ("dac:81", 8000, Endpoint("dac", 81)),
        ("127.0.0.1:81", None, Endpoint("127.0.0.1", 81)),
        ("[::1]:81", None, Endpoint("::1", 81)),
        ("::1", 8000, Endpoint("::1", 8000)),
        ("[::1]", 8000, Endpoint("::1", 8000)),
        ("a_b.svc.cluster.local:1", None, Endpoint("a_b.svc.cluster.local", 1)),
    ],
)
def test_addresses_are_read(text, port, found):
    assert parse_endpoint(text, "--x", port=port) == found


@pytest.mark.parametrize(
    "text", ["", ":80", "dac:", "dac:0", "dac:65536", "dac:x", "d ac:1", "1.2.3:4", "http://a:1", "[::1"]
)
def test_wrong_addresses_are_refused(text):
    with pytest.raises(ConfigError, match="--x"):
        parse_endpoint(text, "--x", port=8000)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edge", "--gateway", "dac:70000"], ["--gateway", '"70000"', "1 to 65535"]),
        (["edge", "--gateway", "d ac"], ["--gateway", '"d ac"']),
        (["edge", "--listen", "localhost:1"], ["--listen", "IP address"]),
        (["edge", "--rate-limit-service", "limits"], ["--rate-limit-service", "no port"]),
        (["edge", "--canary", "b", "--canary-weight", "101"], ["--canary-weight", "101"]),
        (["edge", "--canary-weight", "10"], ["--canary HOST:PORT"]),
        (["edge", "--trace-percent", "200"], ["--trace-percent", "200"]),
        (["edge", "--heap-bytes", "1000"], ["--heap-bytes", "1000"]),
        (["edge", "--admin-port", "x"], ["--admin-port", '"x"']),
        (["edge", "--config", "missing.yaml"], ["missing.yaml"]),
        (["edge", "--output", "missing/edge.yaml"], ["missing/edge.yaml", "--output"]),
        (["sidecar", "--services", "budge"], ['"budge"', '"budget"']),
        (["sidecar", "--services", "budget,audit"], ["budget,audit", "gateway,router,provider"]),
        (["sidecar", "--services", "budget", "--topology", "edg"], ['"edg"', '"edge"']),
        (["sidecar", "--services", "audit", "--peer", "memory=a:1"], ['"memory"', "budget"]),
        (["sidecar", "--services", "audit", "--peer", "budget=a"], ["--peer budget", "no port"]),
        (["sidecar", "--services", "audit", "--trust-domain", "a/b"], ["--trust-domain", '"a/b"']),
    ],
)
def test_wrong_flags_end_with_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words)
    assert list(tmp_path.iterdir()) == []


def test_ports_and_limits_follow_the_settings(tmp_path):
    config = tmp_path / "dac.yaml"
    config.write_text("gateway: {http_port: 8123, grpc_port: 0, max_body_bytes: 4096, request_timeout_s: 60}\n")
    output = tmp_path / "edge.yaml"
    done = run("edge", "--config", config, "--gateway", "dac", "--no-tls", "--output", output)
    assert done.exit_code == 0, done.stderr
    document = yaml.safe_load(output.read_text())
    clusters = clusters_of(document)
    assert "gateway_grpc" not in clusters and "port_value: 8123" in output.read_text()
    assert "max_request_bytes: 4096" in output.read_text()
    assert clusters["gateway_http"]["cluster_type"]["name"] == "envoy.clusters.dns"
    assert yaml.safe_load(run("edge").stdout)["node"]["id"] == "dac-edge"
    refused = run("edge", "--config", config, "--transcode")
    assert refused.exit_code == 2 and "DAC_GRPC_PORT" in refused.stderr


def test_a_sidecar_says_what_dac_beside_it_needs():
    done = run("sidecar", "--services", "gateway,router,provider")
    assert done.exit_code == 0
    assert "DAC_MESH_ADDRESSES=budget=127.0.0.1:21001,audit=127.0.0.1:21002,memory=127.0.0.1:21003" in done.stderr


def leaf_of(folder):
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())


def alternatives(certificate):
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.UniformResourceIdentifier), found.get_values_for_type(x509.DNSName)


def test_certificates_are_private_and_never_written_over(tmp_path):
    folder = tmp_path / "certs"
    done = run("certificates", folder, "--trust-domain", "example.org", "--host", "dac.example.org")
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(certificates.GROUPS)
    for path in folder.rglob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    uris, hosts = alternatives(leaf_of(folder / "budget"))
    assert uris == ["spiffe://example.org/ns/dac/sa/dac-budget"] and "dac.example.org" in hosts
    kept = (folder / "ca.key").read_bytes()
    again = run("certificates", folder)
    assert again.exit_code == 2 and "--renew" in again.stderr and (folder / "ca.key").read_bytes() == kept
    assert run("certificates", folder / "ca.key").exit_code == 2


def test_a_folder_of_a_like_name_is_left_alone(tmp_path):
    (tmp_path / "certs.new").mkdir()
    (tmp_path / "certs.new" / "mine").write_text("kept")
    certificates.make(tmp_path / "certs", Names(), groups=["edge"])
    assert (tmp_path / "certs.new" / "mine").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"certs", "certs.new"}


def test_renewing_keeps_the_authority_and_the_names(tmp_path):
    folder = tmp_path / "certs"
    certificates.make(folder, Names(trust_domain="example.org"))
    before, authority = leaf_of(folder / "audit"), (folder / "ca.crt").read_bytes()
    done = run("certificates", folder, "--renew")
    assert done.exit_code == 0, done.stderr
    after = leaf_of(folder / "audit")
    assert after.serial_number != before.serial_number and alternatives(after) == alternatives(before)
    assert (folder / "ca.crt").read_bytes() == authority
    x509.load_pem_x509_certificate(authority).public_key()
    after.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    assert len([path for path in (folder / "audit").iterdir() if path.is_dir() and not path.is_symlink()]) == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "ca.key").unlink(), "ca.key"),
        (lambda folder: (folder / "ca.key").write_text("x"), "damaged"),
        (lambda folder: (folder / "budget" / "tls.crt").write_text("x"), "damaged"),
    ],
)
def test_a_damaged_folder_is_not_half_renewed(tmp_path, damage, words):
    folder = tmp_path / "certs"
    certificates.make(folder, Names())
    before = leaf_of(folder / "audit").serial_number
    damage(folder)
    done = run("certificates", folder, "--renew")
    assert done.exit_code == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1
    assert leaf_of(folder / "audit").serial_number == before


def test_an_authority_near_its_end_makes_nothing(tmp_path):
    certificates.make(tmp_path / "certs", Names(), groups=["edge"])
    late = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=certificates.AUTHORITY_DAYS - 10)
    with pytest.raises(ConfigError, match="the authority ends"):
        certificates.renew(tmp_path / "certs", now=late)


def test_publishing_swaps_all_files_at_once(tmp_path):
    certificates.publish(tmp_path / "a", {"x": b"1", "y": b"1"})
    held = (tmp_path / "a" / "x").resolve()
    certificates.publish(tmp_path / "a", {"x": b"2", "y": b"2"})
    assert (tmp_path / "a" / "x").read_bytes() == (tmp_path / "a" / "y").read_bytes() == b"2"
    assert not held.exists()


def test_options_that_cannot_work_are_refused():
    gateways = (Endpoint("a", 1),)
    with pytest.raises(ConfigError, match="--transcode"):
        EdgeOptions(gateways, (), 1, 1.0, transcode=True)
    with pytest.raises(ConfigError, match="--canary"):
        EdgeOptions(gateways, gateways, 1, 1.0, canary=Endpoint("b", 1))
