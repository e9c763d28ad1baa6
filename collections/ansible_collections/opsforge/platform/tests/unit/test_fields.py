# SPDX-License-Identifier: GPL-3.0-or-later
"""When a live object shows by its managed fields that applying would change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._fields import is_applied

Object = dict[str, Any]

WISHED: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "apps", "labels": {"app": "web"}, "finalizers": ["x.dev/hold"]},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "spec": {
                "containers": [
                    {"name": "web", "image": "web:1", "ports": [{"containerPort": 8000}], "args": ["-a", "-b"]}
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        },
    },
}
FIELDS: Object = {
    "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {'v:"x.dev/hold"': {}}},
    "f:spec": {
        "f:selector": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"web"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:args": {},
                        "f:ports": {'k:{"containerPort":8000,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                    }
                },
                "f:volumes": {'k:{"name":"tmp"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
            }
        },
    },
}


def live() -> Object:
    """The object as the server returns it: with defaults, another manager's fields, and status."""
    obj = copy.deepcopy(WISHED)
    obj["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 1}
    obj["metadata"]["labels"]["theirs"] = "x"
    obj["metadata"]["finalizers"].append("y.dev/hold")
    obj["spec"]["replicas"] = 3
    container = obj["spec"]["template"]["spec"]["containers"][0]
    container["ports"][0]["protocol"] = "TCP"
    container["imagePullPolicy"] = "IfNotPresent"
    obj["spec"]["template"]["spec"]["containers"].append({"name": "injected", "image": "proxy"})
    obj["status"] = {"replicas": 3}
    ours = {"manager": "opsforge", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": FIELDS}
    theirs = {"manager": "kubelet", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:status": {}}}
    obj["metadata"]["managedFields"] = [theirs, ours]
    return obj


def test_what_is_as_written_needs_no_request() -> None:
    assert is_applied(live(), WISHED, "opsforge")


def containers(obj: Object) -> list[Object]:
    found: list[Object] = obj["spec"]["template"]["spec"]["containers"]
    return found


CHANGES: dict[str, Callable[[Object, Object], Any]] = {
    "a value differs": lambda live, wished: containers(live)[0].update(image="web:2"),
    "a field is new": lambda live, wished: wished["spec"].update(replicas=3),
    "a field is no longer written": lambda live, wished: wished["metadata"].pop("labels"),
    "a list item is new": lambda live, wished: containers(wished).append({"name": "second", "image": "x"}),
    "a list item is gone": lambda live, wished: containers(live).pop(0),
    "an atomic list is in another order": lambda live, wished: containers(live)[0]["args"].reverse(),
    "a value of a set is gone": lambda live, wished: live["metadata"]["finalizers"].remove("x.dev/hold"),
    "a map item was added to an atomic map": lambda live, wished: live["spec"]["selector"].update(more={}),
    "another API version": lambda live, wished: wished.update(apiVersion="apps/v1beta1"),
    "someone else applied": lambda live, wished: live["metadata"]["managedFields"][1].update(manager="kubectl"),
    "written by update": lambda live, wished: live["metadata"]["managedFields"][1].update(operation="Update"),
    "only a subresource": lambda live, wished: live["metadata"]["managedFields"][1].update(subresource="scale"),
    "no managed fields": lambda live, wished: live["metadata"].pop("managedFields"),
}


def test_an_object_that_is_only_to_exist() -> None:
    """A Namespace without labels: nothing is owned, so there is no entry."""
    wished: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}}
    theirs = {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:metadata": {}}}
    assert is_applied({**wished, "metadata": {"name": "apps", "managedFields": [theirs]}}, wished, "opsforge")
    labelled = {**wished, "metadata": {"name": "apps", "labels": {"a": "b"}}}
    ours = {
        **theirs,
        "manager": "opsforge",
        "operation": "Apply",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}},
    }
    live = {**labelled, "metadata": {**labelled["metadata"], "managedFields": [ours]}}
    assert is_applied(live, labelled, "opsforge") and not is_applied(live, wished, "opsforge")


@pytest.mark.parametrize("change", CHANGES)
def test_anything_else_asks_the_server(change: str) -> None:
    obj, wished = live(), copy.deepcopy(WISHED)
    CHANGES[change](obj, wished)
    assert not is_applied(obj, wished, "opsforge")
