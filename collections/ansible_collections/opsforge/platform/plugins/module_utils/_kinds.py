# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address a kind has in the API. Known by table, because asking the server costs requests in every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of one API version: its plural in URLs and whether its objects live in namespaces."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Build the URL path of a collection, an object or a subresource."""
        parts = ["/api" if "/" not in self.api_version else "/apis", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *(part for part in (name, subresource) if part)])


# api version: kinds in namespaces, kinds of the whole cluster. A plural is spelled out where it is not kind + "s".
_TABLE: dict[str, tuple[str, str]] = {
    "v1": (
        "ConfigMap Endpoints=endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate"
        " ReplicationController ResourceQuota Secret Service ServiceAccount",
        "Namespace Node PersistentVolume",
    ),
    "apps/v1": ("ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet", ""),
    "batch/v1": ("CronJob Job", ""),
    "autoscaling/v2": ("HorizontalPodAutoscaler", ""),
    "policy/v1": ("PodDisruptionBudget", ""),
    "networking.k8s.io/v1": (
        "Ingress=ingresses NetworkPolicy=networkpolicies",
        "IngressClass=ingressclasses IPAddress=ipaddresses ServiceCIDR",
    ),
    "discovery.k8s.io/v1": ("EndpointSlice", ""),
    "coordination.k8s.io/v1": ("Lease", ""),
    "events.k8s.io/v1": ("Event", ""),
    "rbac.authorization.k8s.io/v1": ("Role RoleBinding", "ClusterRole ClusterRoleBinding"),
    "scheduling.k8s.io/v1": ("", "PriorityClass=priorityclasses"),
    "node.k8s.io/v1": ("", "RuntimeClass=runtimeclasses"),
    "storage.k8s.io/v1": ("CSIStorageCapacity=csistoragecapacities", "StorageClass=storageclasses CSIDriver CSINode"),
    "apiextensions.k8s.io/v1": ("", "CustomResourceDefinition"),
    "apiregistration.k8s.io/v1": ("", "APIService"),
    "certificates.k8s.io/v1": ("", "CertificateSigningRequest"),
    "admissionregistration.k8s.io/v1": (
        "",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration"
        " ValidatingAdmissionPolicy=validatingadmissionpolicies ValidatingAdmissionPolicyBinding",
    ),
    "flowcontrol.apiserver.k8s.io/v1": ("", "FlowSchema PriorityLevelConfiguration"),
    "gateway.networking.k8s.io/v1": ("Gateway=gateways HTTPRoute GRPCRoute", "GatewayClass=gatewayclasses"),
    "keda.sh/v1alpha1": ("ScaledObject", ""),
}


def _builtin() -> dict[tuple[str, str], Kind]:
    kinds = {}
    for api_version, scopes in _TABLE.items():
        for words, namespaced in zip(scopes, (True, False), strict=True):
            for word in words.split():
                kind, _, plural = word.partition("=")
                kinds[api_version, kind] = Kind(api_version, kind, plural or f"{kind.lower()}s", namespaced)
    return kinds


class Kinds:
    """The table, what definitions at hand add to it, and the server's own answer for the rest.

    :param discover: answers the resources of one API version as the server lists them, None if it is not served.
    """

    def __init__(self, discover: Callable[[str], list[dict[str, Any]] | None]) -> None:
        self._discover = discover
        self._known = _builtin()
        self._asked: set[str] = set()

    def find(self, api_version: str, kind: str) -> Kind | None:
        """Return the address of a kind, None if neither we nor the server know it."""
        if (api_version, kind) not in self._known and api_version not in self._asked:
            resources = self._discover(api_version)
            if resources is not None:
                self._asked.add(api_version)  # an absent version is asked for again: it may be served later
            for entry in resources or []:
                if "/" not in entry["name"]:
                    found = Kind(api_version, entry["kind"], entry["name"], entry["namespaced"])
                    self._known.setdefault((api_version, entry["kind"]), found)
        return self._known.get((api_version, kind))

    def learn(self, definition: Mapping[str, Any]) -> None:
        """Add the kinds that a CustomResourceDefinition defines, before or after the server serves them."""
        for kind in defined_kinds(definition):
            self._known[kind.api_version, kind.kind] = kind


def defined_kinds(definition: Mapping[str, Any]) -> list[Kind]:
    """List the kinds that a CustomResourceDefinition brings, one for each served version."""
    spec = definition["spec"]
    return [
        Kind(
            f"{spec['group']}/{version['name']}",
            spec["names"]["kind"],
            spec["names"]["plural"],
            spec["scope"] == "Namespaced",
        )
        for version in spec["versions"]
        if version.get("served", True)
    ]
