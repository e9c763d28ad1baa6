# SPDX-License-Identifier: GPL-3.0-or-later
"""The two slots of a service as they stand in the cluster. Nothing is remembered anywhere else.

Traffic is where the Service's selector points; a slot's version and size are what its Deployment says; the history is
the release record's. Whoever dies in the middle leaves a state that the next reader understands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils import _releases
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Release

SLOTS = ("blue", "green")
NAME_LABEL = "app.kubernetes.io/name"
SLOT_LABEL = "opsforge.dev/slot"
VERSION_LABEL = "app.kubernetes.io/version"
CANARY_ANNOTATION = "opsforge.dev/canary"
TRAFFIC_ANNOTATION = "opsforge.dev/traffic-"
RESTING_ANNOTATION = "opsforge.dev/resting"
# What may size a service, the first that exists: the autoscaler behind a ScaledObject is not ours to write.
SCALERS = (("keda.sh/v1alpha1", "ScaledObject"), ("autoscaling/v2", "HorizontalPodAutoscaler"))


class Reader(Protocol):
    """The part of a cluster's client that reading needs."""

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None: ...

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | str | None = None,
        *,
        since: str = "",
    ) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Slot:
    """One slot that has a Deployment."""

    name: str
    version: str
    image: str = ""
    # Pods asked for; pods that would take a request now; whether all pods are of the newest template.
    replicas: int = 0
    ready: int = 0
    settled: bool = True
    # Names of the pods that are not on their way out.
    pods: tuple[str, ...] = ()
    # Of the Deployment when it was read: the precondition of every change of its size.
    resource_version: str = ""

    @property
    def digest(self) -> str:
        """What names the content of its image, "sha256:..."; empty where the image is named by a tag only."""
        return self.image.partition("@")[2]


@dataclass(frozen=True)
class State:
    """A service with all that decides about its traffic."""

    service: str
    namespace: str
    # Of the Service object when it was read: the precondition of every switch.
    resource_version: str = ""
    # Where traffic is; while it goes to both slots, where it was before.
    active: str | None = None
    slots: Mapping[str, Slot] = field(default_factory=dict)
    # The slot that the autoscaler follows, None without an autoscaler.
    scaled: str | None = None
    history: tuple[Release, ...] = ()
    # API version and kind of the object that names that slot.
    scaler: tuple[str, str] | None = None
    # Whether traffic goes to both slots, and then how many endpoints each has among those that nodes know.
    overlapping: bool = False
    spread: Mapping[str, int] = field(default_factory=dict)
    # The slot that gets a share of the traffic beside the one in use: not the switch's to end.
    canary: str = ""
    # The slot whose pods somebody is about to stop, or has stopped; "waking <slot>" once it is wanted again.
    resting: str = ""
    # Of the autoscaler when it was read.
    scaler_version: str = ""
    # Of the Service object, for what is told about it.
    uid: str = ""

    @property
    def serving(self) -> Slot | None:
        """The slot that traffic goes to."""
        return self.slots.get(self.active) if self.active else None

    def is_on(self, slot: str | None) -> bool:
        """Whether traffic is where it should be if that is this slot; a canary beside it is no business of a switch."""
        return slot is not None and self.active == slot and (not self.overlapping or bool(self.canary))

    @property
    def release(self) -> int:
        """The number of the newest record of the history, 0 without one."""
        return _releases.newest(self.history)

    @property
    def recorded(self) -> bool:
        """Whether the newest record of the history tells where traffic is."""
        slot = self.serving
        last = self.history[-1] if self.history else None
        return bool(slot and last and (last.slot, last.version) == (slot.name, slot.version))


def other(slot: str) -> str:
    """The slot that is not this one."""
    return SLOTS[1 - SLOTS.index(slot)]


def selector(service: str, slot: str) -> dict[str, str]:
    """The selector that sends a Service's traffic to a slot."""
    return {NAME_LABEL: service, SLOT_LABEL: slot}


def both(service: str) -> dict[str, str]:
    """The selector that sends a Service's traffic to both slots."""
    return {NAME_LABEL: service}


def deployment(service: str, slot: str) -> str:
    """The name of a slot's Deployment."""
    return f"{service}-{slot}"


def preview(service: str) -> str:
    """The name of the Service that reaches a slot before traffic does."""
    return f"{service}-preview"


def read(cluster: Reader, namespace: str, service: str) -> State:
    """Read a service's state; raises NotFound without a Service, Invalid for a selector that no slot explains.

    The record is read first and the Service last: whoever moves traffic in between makes the Service newer than the
    record, never older, and a record written on such a look is refused. The pods are those that the Deployments count
    by then, or newer: to ask for the newest would make each look wait for the server to be sure of it.
    """
    history = _releases.read(cluster.get("v1", "ConfigMap", _releases.name(service), namespace))
    asked = {slot: cluster.get("apps/v1", "Deployment", deployment(service, slot), namespace) for slot in SLOTS}
    deployments = {slot: found for slot, found in asked.items() if found}
    newest = max((found["metadata"].get("resourceVersion", "") for found in deployments.values()), key=_age, default="")
    pods = cluster.list("v1", "Pod", namespace, {NAME_LABEL: service}, since=newest) if deployments else []
    slots = {
        slot: _slot(slot, found, [pod for pod in pods if _labels(pod).get(SLOT_LABEL) == slot])
        for slot, found in deployments.items()
    }
    scaler, follows = _scaler(cluster, namespace, service)
    target = follows["spec"]["scaleTargetRef"]["name"] if follows else ""
    found = cluster.get("v1", "Service", service, namespace)
    if found is None:
        raise NotFound(f"namespace {namespace} has no Service {service}")
    notes = found["metadata"].get("annotations") or {}
    # Told by the Service itself, which cannot be older than the selector; by the record where an older version wrote.
    before = notes.get(f"{TRAFFIC_ANNOTATION}slot") or (history[-1].slot if history else "")
    active, overlapping = _active(service, found["spec"].get("selector") or {}, before)
    return State(
        service=service,
        namespace=namespace,
        resource_version=found["metadata"].get("resourceVersion", ""),
        active=active,
        slots=slots,
        scaled=next((slot for slot in SLOTS if deployment(service, slot) == target), None),
        history=history,
        scaler=scaler,
        scaler_version=follows["metadata"].get("resourceVersion", "") if follows else "",
        overlapping=overlapping,
        spread=_spread(cluster, namespace, service, slots) if overlapping else {},
        canary=notes.get(CANARY_ANNOTATION, ""),
        resting=notes.get(RESTING_ANNOTATION, ""),
        uid=found["metadata"].get("uid", ""),
    )


def _active(service: str, live: Mapping[str, str], before: str) -> tuple[str | None, bool]:
    """The slot that traffic is on, and whether it goes to both: then the one that had it before."""
    if not live:
        return None, False
    for slot in SLOTS:
        if live == selector(service, slot):
            return slot, False
    # Only a service whose traffic we moved can be between two slots; else it is somebody's own Service.
    if live == both(service) and before:
        return before, True
    shown = ",".join(f"{key}={value}" for key, value in sorted(live.items()))
    raise Invalid(
        f"the selector of Service {service} is not ours ({shown}): nothing was written;"
        f" set it to {NAME_LABEL}={service},{SLOT_LABEL}=<slot> or remove it, then try again"
    )


def _spread(cluster: Reader, namespace: str, service: str, slots: Mapping[str, Slot]) -> dict[str, int]:
    """How many ready endpoints of each slot the Service has."""
    labels = {"kubernetes.io/service-name": service}
    found = cluster.list("discovery.k8s.io/v1", "EndpointSlice", namespace, labels)
    ready = {
        (endpoint.get("targetRef") or {}).get("name")
        for part in found
        for endpoint in part.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready")
    }
    return {slot.name: len(ready.intersection(slot.pods)) for slot in slots.values()}


def _age(resource_version: str) -> int:
    """Orders the resource versions of one server."""
    return int(resource_version) if resource_version.isdecimal() else 0


def _slot(name: str, found: Mapping[str, Any], pods: list[Mapping[str, Any]]) -> Slot:
    template = found["spec"]["template"]
    status = found.get("status") or {}
    replicas = found["spec"].get("replicas", 1)
    observed = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return Slot(
        name=name,
        version=_labels(template).get(VERSION_LABEL, ""),
        image=template["spec"]["containers"][0]["image"],
        replicas=replicas,
        ready=sum(1 for pod in alive if is_ready(pod)),
        settled=observed and status.get("updatedReplicas", 0) == status.get("replicas", 0) >= replicas,
        pods=tuple(sorted(pod["metadata"]["name"] for pod in alive)),
        resource_version=found["metadata"].get("resourceVersion", ""),
    )


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    return (found.get("metadata") or {}).get("labels") or {}


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod takes requests: what makes it an endpoint of every Service that selects it."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _scaler(cluster: Reader, namespace: str, service: str) -> tuple[tuple[str, str] | None, Mapping[str, Any] | None]:
    """What sizes the service: its kind, and itself. A cluster that does not know a kind has none of it."""
    for scaler in SCALERS:
        found = cluster.get(*scaler, service, namespace)
        if found:
            return scaler, found
    return None, None


def placed(state: State, *, version: str | None = None, first: str | None = None) -> tuple[str, dict[str, str]]:
    """Where a version goes: the slot that traffic should be on in the end, and the version of each slot by then.

    `version` is released to the slot that is not in use; `first` only to a service that has no traffic yet.
    """
    versions = {slot.name: slot.version for slot in state.slots.values()}
    serving = state.serving
    wanted = version if serving else version or first
    if serving and wanted in (None, serving.version):
        return serving.name, versions
    slot = other(state.active) if state.active else SLOTS[0]
    return slot, {**versions, **({slot: wanted} if wanted else {})}


def described(state: State) -> dict[str, Any]:
    """The state as a module returns it."""
    last = state.history[-1] if state.history else None
    return {
        "active": state.active,
        "overlapping": state.overlapping,
        "version": state.serving.version if state.serving else None,
        "slots": {
            slot.name: {
                **{key: value for key, value in asdict(slot).items() if key != "resource_version"},
                "digest": slot.digest,
                "pods": list(slot.pods),
                "drained": bool(last and last.from_slot == slot.name != last.slot and last.drained),
            }
            for slot in state.slots.values()
        },
        "autoscaler": state.scaler[1] if state.scaler else None,
        "autoscaler_follows": state.scaled,
        "history": [asdict(entry) for entry in state.history],
        "released": asdict(undone) if (undone := _releases.before(state.history)) else None,
        "summary": [_sentence(state, slot) for slot in state.slots.values()],
        "table": _releases.table(state.history),
    }


def _sentence(state: State, slot: Slot) -> str:
    """A slot in one line for people."""
    traffic = "traffic" if slot.name == state.active else "idle"
    return f"{slot.name:<5}  {slot.version}  {traffic}  {slot.ready} of {slot.replicas} pods ready"
