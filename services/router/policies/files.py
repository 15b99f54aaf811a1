"""The policies and tenants of files: read again when a file changes, and kept as they were when it is bad."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.documents import Documents
from mesh.errors import MeshError, invalid
from services.router.config import RouterConfig
from services.router.policies.form import parse_policies, parse_tenants
from services.router.policies.policies import RoutingPolicy, TenantRules, built_in

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Filed:
    """What files say, with what is built in."""

    policies: Mapping[str, RoutingPolicy]
    """By name; "default" and one for each profile are always there."""
    written: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of the policies that stand in files: what was written."""
    tenants: Mapping[str, TenantRules] = field(default_factory=dict)
    """By the organisation's id or name."""


def read(documents: Documents | None, base: RoutingPolicy) -> Filed:
    """Reads the files. Raises MeshError when they are bad."""
    policies = built_in(base)
    if documents is None:
        return Filed(policies)
    shipped, own = documents.read("policies", "tenants")
    found = parse_policies(shipped["policies"], base) | parse_policies(own["policies"], base)
    policies |= {name: policy for name, (policy, _) in found.items()}
    names = list(policies)
    tenants = parse_tenants(shipped["tenants"], names) | parse_tenants(own["tenants"], names)
    return Filed(policies, {name: written for name, (_, written) in found.items()}, tenants)


class PolicyFiles:
    """Follows the files by their times and sizes."""

    def __init__(self, documents: Documents | None, base: RoutingPolicy) -> None:
        """Raises MeshError when the files are bad from the first."""
        self._documents, self._base = documents, base
        self._stamp = documents.stamp() if documents is not None else ()
        self.now: Filed = read(documents, base)
        self.problem = ""
        """Why the files that stand there now are not in force; empty when they are."""

    @property
    def changed(self) -> bool:
        """Whether the files are other ones than those that were read last."""
        return self._documents is not None and self._documents.stamp() != self._stamp

    def look(self, in_use: frozenset[str] = frozenset()) -> bool:
        """Reads the files again if they changed; whether anything else is in force now. `in_use` are the names of
        policies that others than the files' tenants are under: taking one away is bad."""
        if self._documents is None or (stamp := self._documents.stamp()) == self._stamp:
            return False
        self._stamp = stamp
        try:
            found = read(self._documents, self._base)
            gone = sorted((set(self.now.policies) - set(found.policies)) & in_use)
            if gone:
                raise invalid(
                    "policies",
                    f'policies: "{gone[0]}" is gone from the files, and organisations are under it: assign them '
                    "another one first (dac policy assign).",
                )
        except MeshError as error:
            _log.error("the policies in the files are bad, and those from before stay in force: %s", error.message)
            self.problem = error.message
            return False
        if self.problem:
            _log.info("the policies in the files are good again")
        self.problem = ""
        changed = found != self.now
        self.now = found
        if changed:
            _log.info("policies were read anew from the files: %d policies, %d tenants", *_counts(found))
        return changed


def _counts(found: Filed) -> tuple[int, int]:
    return len(found.written), len(found.tenants)


def check(documents: Documents | None, config: RouterConfig) -> None:
    """Reads the files as a start would. Raises MeshError when they are bad."""
    read(documents, RoutingPolicy(profile=config.default_profile))
