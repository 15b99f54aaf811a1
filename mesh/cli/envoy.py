"""`dac envoy`: configuration for the Envoy in front of DAC, for its sidecars, and certificates for both."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Failure
from mesh.cli.output import command, note
from mesh.cli.run import Config

app = typer.Typer(help="Envoy: configuration for the edge and for sidecars, certificates.", no_args_is_help=True)
Output = Annotated[
    pathlib.Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.")
]
Sds = Annotated[str, typer.Option("--sds", help="The folder with sds_certificate.yaml and sds_ca.yaml.")]
Otlp = Annotated[str | None, typer.Option("--otlp", help="Send spans to this collector, HOST:PORT.")]
TracePercent = Annotated[float, typer.Option("--trace-percent", help="How many requests begin a trace.")]
AdminPort = Annotated[str, typer.Option("--admin-port", help="Envoy's admin port, on loopback.")]
Probes = Annotated[str, typer.Option("--probes", help="Where /live, /ready and /metrics are served; - for nowhere.")]
HealthInterval = Annotated[
    float, typer.Option("--health-interval", min=0.1, max=3600, help="Seconds between two health checks.")
]
HeapBytes = Annotated[int, typer.Option("--heap-bytes", help="The memory Envoy may use: its container's limit.")]
MaxConnections = Annotated[int, typer.Option("--max-connections", min=1, help="Connections at a time.")]
HEADING = "Made by `dac envoy`: change its flags and make it anew, then restart Envoy."


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="envoy")


@contextlib.contextmanager
def _wrong_usage() -> Iterator[None]:
    """Everything that is wrong with flags, settings or files ends with exit code 2."""
    from mesh.errors import MeshError

    try:
        yield
    except MeshError as error:
        raise Failure(error.message, USAGE) from None
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", USAGE) from None


def _write(document: dict[str, Any], output: pathlib.Path | None) -> None:
    from mesh.envoy.document import to_yaml

    text = to_yaml(document, HEADING)
    if output is None:
        print(text, end="")
        return
    fresh = output.with_name(output.name + ".new")
    try:
        fresh.write_text(text)
        fresh.replace(output)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise Failure(f"{output}: {error.strerror} (--output)", USAGE) from None
    note(f"wrote {output}")


@command(app, "edge")
def edge(
    gateway: Annotated[
        list[str] | None, typer.Option("--gateway", help="Where the gateway is: HOST or HOST:PORT; repeat it.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="Where callers come to (0.0.0.0:8443; 127.0.0.1:8080 without TLS).")
    ] = None,
    no_tls: Annotated[bool, typer.Option("--no-tls", help="Plain HTTP, for a laptop.")] = False,
    sds: Sds = "/etc/dac/envoy",
    local_rps: Annotated[
        int, typer.Option("--local-rps", min=0, help="Requests a second this Envoy takes at most; 0 = any.")
    ] = 2000,
    rate_limit_service: Annotated[
        str | None, typer.Option("--rate-limit-service", help="A rate limit service (RLS v3), HOST:PORT.")
    ] = None,
    otlp: Otlp = None,
    trace_percent: TracePercent = 100.0,
    canary: Annotated[
        str | None, typer.Option("--canary", help="A gateway that gets some of the requests: HOST or HOST:PORT.")
    ] = None,
    canary_weight: Annotated[int, typer.Option("--canary-weight", help="Percent of the requests it gets.")] = 0,
    transcode: Annotated[
        bool, typer.Option("--transcode", help="Envoy, not the gateway, turns the management API's JSON into gRPC.")
    ] = False,
    trusted_hops: Annotated[
        int, typer.Option("--trusted-hops", min=0, help="Proxies in front whose x-forwarded-for is believed.")
    ] = 0,
    heap_bytes: HeapBytes = 512 * 1024 * 1024,
    max_connections: MaxConnections = 20_000,
    health_interval: HealthInterval = 5.0,
    admin_port: AdminPort = "9901",
    probes: Probes = "0.0.0.0:9902",
    config: Config = None,
    output: Output = None,
) -> None:
    """Print the configuration of the Envoy in front of the gateway.

    Ports, the largest body and the longest request are those of DAC's own settings (--config, environment).

    Example: dac envoy edge --gateway 127.0.0.1 --no-tls --output edge.yaml
    """
    from mesh.app import load_settings
    from mesh.envoy.document import Endpoint, parse_endpoint, parse_port
    from mesh.envoy.edge import PLAIN_PORT, TLS_PORT, EdgeOptions
    from mesh.envoy.edge import edge as make

    with _wrong_usage():
        settings = load_settings(config).services["gateway"]
        grpc_port = settings.grpc_port
        found = tuple(parse_endpoint(one, "--gateway", port=settings.http_port) for one in gateway or ["127.0.0.1"])
        other = parse_endpoint(canary, "--canary", port=settings.http_port) if canary else None
        default = f"127.0.0.1:{PLAIN_PORT}" if no_tls else f"0.0.0.0:{TLS_PORT}"
        options = EdgeOptions(
            gateways=found,
            grpc_gateways=tuple(Endpoint(one.host, grpc_port) for one in found) if grpc_port else (),
            max_body_bytes=settings.max_body_bytes,
            request_timeout_s=settings.request_timeout_s,
            listen=parse_endpoint(listen or default, "--listen", ip_only=True),
            tls=not no_tls,
            sds_dir=str(pathlib.Path(sds).absolute()),
            admin=Endpoint("127.0.0.1", parse_port(admin_port, "--admin-port")),
            probes=None if probes == "-" else parse_endpoint(probes, "--probes", ip_only=True),
            local_rps=local_rps,
            rate_limit_service=_optional(rate_limit_service, "--rate-limit-service"),
            otlp=_optional(otlp, "--otlp"),
            trace_percent=trace_percent,
            canary=other,
            canary_grpc=Endpoint(other.host, grpc_port) if other and grpc_port else None,
            canary_weight=canary_weight,
            transcode=transcode,
            heap_bytes=heap_bytes,
            max_connections=max_connections,
            health_interval_s=health_interval,
            trusted_hops=trusted_hops,
        )
        _write(make(options), output)


def _optional(text: str | None, flag: str) -> Any:
    from mesh.envoy.document import parse_endpoint

    return parse_endpoint(text, flag) if text else None


@command(app, "sidecar")
def sidecar(
    services: Annotated[str, typer.Option("--services", help="The targets of this pod, e.g. budget.")],
    topology: Annotated[
        str, typer.Option("--topology", help="Which targets share a pod: edge, separate or core.")
    ] = "edge",
    prefix: Annotated[str, typer.Option("--prefix", help="What names of pods and accounts begin with.")] = "dac",
    namespace: Annotated[str, typer.Option("--namespace", help="The namespace in SPIFFE ids.")] = "dac",
    trust_domain: Annotated[str, typer.Option("--trust-domain", help="The trust domain of SPIFFE ids.")] = "dac.local",
    sds: Sds = "/etc/dac/envoy",
    listen: Annotated[str, typer.Option("--listen", help="Where other pods' sidecars come to.")] = "0.0.0.0:50053",
    mesh: Annotated[str, typer.Option("--mesh", help="Where this pod's DAC serves its targets.")] = "127.0.0.1:50052",
    egress_port: Annotated[
        str, typer.Option("--egress-port", help="The first port, on loopback, for calls to other pods.")
    ] = "21001",
    peer: Annotated[
        list[str] | None, typer.Option("--peer", help="TARGET=HOST:PORT of a pod without a headless name; repeat it.")
    ] = None,
    otlp: Otlp = None,
    trace_percent: TracePercent = 100.0,
    heap_bytes: HeapBytes = 128 * 1024 * 1024,
    max_connections: MaxConnections = 10_000,
    health_interval: HealthInterval = 5.0,
    admin_port: AdminPort = "9901",
    probes: Probes = "0.0.0.0:9902",
    output: Output = None,
) -> None:
    """Print the configuration of the Envoy beside a pod: mutual TLS to the pods it calls and from those that call it.

    Example: dac envoy sidecar --services gateway,router,provider --output sidecar.yaml
    """
    from mesh.envoy.document import Endpoint, parse_endpoint, parse_port
    from mesh.envoy.groups import Names, check_names, group_named
    from mesh.envoy.sidecar import SidecarOptions, check_peers, mesh_addresses
    from mesh.envoy.sidecar import sidecar as make

    with _wrong_usage():
        asked = [name.strip() for name in services.split(",") if name.strip()]
        group = group_named(topology, asked)
        peers = {name: at for name, _, at in (one.partition("=") for one in peer or [])}
        check_peers(topology, group, peers)
        options = SidecarOptions(
            group=group,
            topology=topology,
            names=check_names(Names(prefix, namespace, trust_domain)),
            sds_dir=str(pathlib.Path(sds).absolute()),
            listen=parse_endpoint(listen, "--listen", ip_only=True),
            mesh=parse_endpoint(mesh, "--mesh"),
            egress_port=parse_port(egress_port, "--egress-port"),
            peers={name: parse_endpoint(at, f"--peer {name}") for name, at in peers.items()},
            admin=Endpoint("127.0.0.1", parse_port(admin_port, "--admin-port")),
            probes=None if probes == "-" else parse_endpoint(probes, "--probes", ip_only=True),
            otlp=_optional(otlp, "--otlp"),
            trace_percent=trace_percent,
            heap_bytes=heap_bytes,
            max_connections=max_connections,
            health_interval_s=health_interval,
        )
        _write(make(options), output)
    addresses = ",".join(f"{target}={address}" for target, address in mesh_addresses(options).items())
    if addresses:
        note(f"DAC beside it needs: DAC_MESH_ADDRESSES={addresses}")


@command(app, "certificates")
def certificates(
    folder: Annotated[pathlib.Path, typer.Argument(help="Where to put them; must be empty.")],
    trust_domain: Annotated[str, typer.Option("--trust-domain", help="The trust domain of SPIFFE ids.")] = "dac.local",
    namespace: Annotated[str, typer.Option("--namespace", help="The namespace in SPIFFE ids.")] = "dac",
    prefix: Annotated[str, typer.Option("--prefix", help="What names of pods and accounts begin with.")] = "dac",
    host: Annotated[
        list[str] | None, typer.Option("--host", help="A name or address callers use, beside localhost; repeat it.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=825, help="How long they are good.")] = 90,
    renew: Annotated[
        bool, typer.Option("--renew", help="New certificates by the same authority; Envoy takes them up by itself.")
    ] = False,
) -> None:
    """Make a small authority and a certificate for each kind of pod, for laptops and tests.

    Example: dac envoy certificates certs --host dac.example.com
    """
    from mesh.envoy import certificates as authority
    from mesh.envoy.groups import Names, check_names

    with _wrong_usage():
        if renew:
            groups = authority.renew(folder, days=days)
            note(f"renewed in {folder}: {', '.join(groups)}")
            return
        authority.make(folder, check_names(Names(prefix, namespace, trust_domain)), hosts=host or (), days=days)
    note(f"made an authority in {folder}, and certificates for {', '.join(authority.GROUPS)}")
    note(f"keep {folder / authority.AUTHORITY_KEY} to yourself: with it anybody can be anybody")
