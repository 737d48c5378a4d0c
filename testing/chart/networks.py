"""Whom the NetworkPolicies of a rendered chart let talk to whom, as Kubernetes reads them."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from testing.chart.rendering import NAMESPACE, Manifest


class Party(NamedTuple):
    """A pod, by its labels and its namespace, or an address outside."""

    labels: Mapping[str, str] = {}
    namespace: str = NAMESPACE
    address: str = ""
    ports: Mapping[str, int] = {}
    """Of its containers, by name."""


def may_talk(manifests: Sequence[Manifest], source: Party, target: Party, port: int) -> bool:
    """Tell whether both sides' policies let a connection through; a pod without any is open."""
    return _allows(manifests, "Egress", source, target, port, target) and _allows(
        manifests, "Ingress", target, source, port, target
    )


def _allows(
    manifests: Sequence[Manifest],
    direction: str,
    concerned: Party,
    other: Party,
    port: int,
    target: Party,
) -> bool:
    policies = [
        manifest["spec"]
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
        and direction in manifest["spec"]["policyTypes"]
        and not concerned.address
        and concerned.namespace == NAMESPACE
        and _selects(manifest["spec"]["podSelector"], concerned.labels)
    ]
    rules = [rule for spec in policies for rule in spec.get(direction.lower()) or []]
    key = "to" if direction == "Egress" else "from"
    return not policies or any(
        _has_port(rule.get("ports"), port, target) and _has_peer(rule.get(key), other)
        for rule in rules
    )


def _has_port(ports: Iterable[Mapping[str, Any]] | None, port: int, target: Party) -> bool:
    return not ports or any(target.ports.get(p["port"], p["port"]) == port for p in ports)


def _has_peer(peers: Iterable[Mapping[str, Any]] | None, other: Party) -> bool:
    return not peers or any(_is(peer, other) for peer in peers)


def _is(peer: Mapping[str, Any], other: Party) -> bool:
    if block := peer.get("ipBlock"):
        inside = [block["cidr"], *block.get("except", [])]
        address = ipaddress.ip_address(other.address or "10.0.0.1")
        first, *rest = [address in ipaddress.ip_network(network) for network in inside]
        return first and not any(rest)
    if other.address:
        return False
    namespaces = peer.get("namespaceSelector")
    here = (
        other.namespace == NAMESPACE
        if namespaces is None
        else _selects(namespaces, {"kubernetes.io/metadata.name": other.namespace})
    )
    return here and _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, f"can't evaluate {selector}"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return labels.items() >= wanted.items()
