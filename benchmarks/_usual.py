# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's own rules at the usual settings, beside the platform's own monitoring: a rival that sees the same.

The copies are made from what runs: the same programs, targets and rules, but a look every 30 s, rules every minute, and
30 s until the first notification.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish, ensure_absent, ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster

NAMESPACE = "monitoring"
SCRAPE, EVALUATE, GROUP_WAIT, GROUP_INTERVAL = "30s", "1m", "30s", "5m"
# Before the name of a receiver, where its notifications are kept.
PREFIX = "usual-"
_MANAGER = "opsforge-benchmark"
_NAME_LABEL = "app.kubernetes.io/name"
_KEPT = ("name", "namespace", "labels", "annotations")

Object = dict[str, Any]


@contextmanager
def usual(cluster: Cluster) -> Iterator[None]:
    """Have the rival run for as long as it is needed."""
    objects = [
        _config(_live(cluster, "v1", "ConfigMap", "prometheus")),
        _routes(_live(cluster, "v1", "Secret", "alertmanager")),
        *(_renamed(_live(cluster, "v1", "Service", name)) for name in ("prometheus", "alertmanager")),
        *(_renamed(_live(cluster, "apps/v1", "StatefulSet", name)) for name in ("prometheus", "alertmanager")),
    ]
    ensure_present(cluster, objects, Wish(manager=_MANAGER, wait_timeout=180))
    try:
        yield
    finally:
        ensure_absent(cluster, objects, Wish(manager=_MANAGER))


def _live(cluster: Cluster, api_version: str, kind: str, name: str) -> Object:
    found = cluster.get(api_version, kind, name, NAMESPACE)
    if found is None:
        raise RuntimeError(f"namespace {NAMESPACE} has no {kind} {name}: run make site first")
    found.pop("status", None)
    found["metadata"] = {key: value for key, value in found["metadata"].items() if key in _KEPT}
    return found


def _renamed(found: Object) -> Object:
    """The object under another name, with nothing left that leads to the first."""
    wanted = copy.deepcopy(found)
    name = wanted["metadata"]["name"]
    other = f"{name}-usual"
    wanted["metadata"]["name"] = other
    wanted["metadata"]["labels"][_NAME_LABEL] = other
    spec = wanted["spec"]
    if wanted["kind"] == "Service":
        ports = [{key: port[key] for key in ("name", "port", "targetPort")} for port in spec["ports"]]
        wanted["spec"] = {"selector": {_NAME_LABEL: other}, "ports": ports}
        return wanted
    spec["serviceName"] = other
    spec["selector"]["matchLabels"][_NAME_LABEL] = other
    spec["template"]["metadata"]["labels"][_NAME_LABEL] = other
    # Our own monitoring does not look at it, or what it does would count as ours.
    spec["template"]["metadata"].pop("annotations", None)
    for volume in spec["template"]["spec"]["volumes"]:
        for kind, key in (("configMap", "name"), ("secret", "secretName")):
            if volume.get(kind, {}).get(key) == name:
                volume[kind][key] = other
    return wanted


def _config(found: Object) -> Object:
    """Prometheus' configuration and rules."""
    found["metadata"]["name"] = "prometheus-usual"
    config = yaml.safe_load(found["data"]["prometheus.yml"])
    config["global"] |= {"scrape_interval": SCRAPE, "evaluation_interval": EVALUATE}
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
    for receiver in config["alerting"]["alertmanagers"]:
        for target in receiver["static_configs"]:
            target["targets"] = [one.replace("alertmanager.", "alertmanager-usual.") for one in target["targets"]]
    data = {"prometheus.yml": yaml.safe_dump(config, sort_keys=False)}
    for name, text in found["data"].items():
        if name != "prometheus.yml":
            rules = yaml.safe_load(text)
            for group in rules["groups"]:
                group.pop("interval", None)
            data[name] = yaml.safe_dump(rules, sort_keys=False)
    return {**found, "data": data}


def _routes(found: Object) -> Object:
    """Alertmanager's configuration: the same routes, to receivers of their own, at the usual pace."""
    found["metadata"]["name"] = "alertmanager-usual"
    config = yaml.safe_load(base64.b64decode(found["data"]["alertmanager.yml"]))
    _slow_down(config["route"])
    for receiver in config["receivers"]:
        for webhook in receiver.get("webhook_configs") or []:
            start, _, name = webhook["url"].rpartition("/")
            webhook["url"] = f"{start}/{PREFIX}{name}"
    text = yaml.safe_dump(config, sort_keys=False)
    return {**found, "data": {**found["data"], "alertmanager.yml": base64.b64encode(text.encode()).decode()}}


def _slow_down(route: Object) -> None:
    route.pop("group_wait", None)
    route.pop("group_interval", None)
    for child in route.get("routes") or []:
        _slow_down(child)
    route |= {"group_wait": GROUP_WAIT, "group_interval": GROUP_INTERVAL}
