"""Which targets share a pod, who calls whom between pods, under which names: derived from the table in mesh/app.py."""

import dataclasses
import re
from collections.abc import Iterable, Mapping

from mesh.app import TARGETS
from mesh.config import ConfigError, nearest

# Egress ports lie below those that Linux gives to connections: one of these would keep a starting Envoy from its port.
MESH_PORT, MUTUAL_PORT, EGRESS_PORT = 50052, 50053, 21001
"""Where a pod's DAC listens for its sidecar, where its sidecar listens for others, and the first of the ports on which
the sidecar takes calls to other pods."""
EDGE = tuple(reversed([name for name, target in TARGETS.items() if target.edge]))
CORE = tuple(name for name, target in TARGETS.items() if not target.edge)

TOPOLOGIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "edge": {"edge": EDGE, **{name: (name,) for name in CORE}},
    "separate": {name: (name,) for name in TARGETS},
    "core": {"edge": EDGE, "core": CORE},
}
"""Name → group (a kind of pod) → its targets. In `edge`, the usual one, gateway, router and provider share a pod."""


def called_by(target: str) -> tuple[str, ...]:
    """What a target calls, in the table's order."""
    wanted = {*TARGETS[target].needs, *TARGETS[target].tells}
    return tuple(name for name in TARGETS if name in wanted)


def group_named(topology: str, targets: Iterable[str]) -> str:
    """The group that consists of exactly these targets. Raises ConfigError."""
    if topology not in TOPOLOGIES:
        raise ConfigError(f'--topology: there is no "{topology}"{nearest(topology, TOPOLOGIES)}')
    asked = tuple(targets)
    for name in asked:
        if name not in TARGETS:
            raise ConfigError(f'--services: there is no target "{name}"{nearest(name, TARGETS)}')
    for group, members in TOPOLOGIES[topology].items():
        if set(members) == set(asked):
            return group
    pods = "; ".join(",".join(members) for members in TOPOLOGIES[topology].values())
    raise ConfigError(f'--services: no pod of the topology "{topology}" runs {",".join(asked) or "nothing"}: {pods}')


def group_of(topology: str, target: str) -> str:
    """The group that runs a target."""
    return next(group for group, members in TOPOLOGIES[topology].items() if target in members)


def callers(topology: str, group: str) -> tuple[str, ...]:
    """The other groups with a target that needs or tells one of this group's."""
    own = set(TOPOLOGIES[topology][group])
    return tuple(
        other
        for other, members in TOPOLOGIES[topology].items()
        if other != group and any(own & set(called_by(member)) for member in members)
    )


def egress(topology: str, group: str) -> tuple[tuple[str, int], ...]:
    """(target, port on loopback) of every target outside the pod that this group calls, in the table's order."""
    own = TOPOLOGIES[topology][group]
    wanted = {name for member in own for name in called_by(member)} - set(own)
    ordered = [name for name in TARGETS if name in wanted]
    return tuple((name, EGRESS_PORT + index) for index, name in enumerate(ordered))


@dataclasses.dataclass(frozen=True)
class Names:
    """How pods of one installation are called; in Helm's files these are expressions."""

    prefix: str = "dac"
    namespace: str = "dac"
    trust_domain: str = "dac.local"

    def spiffe_id(self, group: str) -> str:
        """Who a pod of this group is."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.prefix}-{group}"

    def host(self, target: str) -> str:
        """The headless name under which all pods with a target are found."""
        return f"{self.prefix}-{target}-headless"


def check_names(names: Names) -> Names:
    """The same names, when SPIFFE ids and DNS names can be made of them. Raises ConfigError."""
    for flag, value, form in (
        ("--prefix", names.prefix, r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"),
        ("--namespace", names.namespace, r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
        ("--trust-domain", names.trust_domain, r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?"),
    ):
        if not re.fullmatch(form, value):
            raise ConfigError(
                f'{flag}: "{value}" cannot be part of a name: write lower-case letters, digits and hyphens'
            )
    return names
