# SPDX-License-Identifier: GPL-3.0-or-later
"""kube_apply against a real API server."""

from __future__ import annotations

import base64
import copy
import json
import stat
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster

Object = dict[str, Any]
RunModule = Callable[..., dict[str, Any]]


def config_map(name: str, namespace: str | None = None, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "data": data,
    }


def secret(name: str, namespace: str, **values: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def deployment(name: str, namespace: str, image: str = "web:1", **pod: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [
                        {
                            "name": "web",
                            "image": image,
                            "ports": [{"name": "http", "containerPort": 8000}],
                            "env": [{"name": "MODE", "value": "fast"}],
                            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
                            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                    **pod,
                },
            },
        },
    }


def service(name: str, namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def definition(plural: str, group: str) -> Object:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": plural[:-1].capitalize()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def actions(result: dict[str, Any]) -> list[str]:
    assert not result.get("failed"), result["msg"]
    return [entry["action"] for entry in result["results"]]


def essence(result: dict[str, Any]) -> tuple[bool, list[Object]]:
    assert not result.get("failed"), result["msg"]
    return result["changed"], result["results"]


def test_each_step_is_predicted_and_happens_once(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    """Create, again, change, again, delete, again: each first in check mode, which says the same and writes nothing."""

    def objects(image: str) -> list[Object]:
        return [
            config_map("settings", namespace, mode="fast", level=image),
            secret("login", namespace, password="a long password"),
            deployment("web", namespace, image),
            service("web", namespace),
        ]

    def snapshot() -> list[Object | None]:
        return [
            cluster.get(obj["apiVersion"], obj["kind"], obj["metadata"]["name"], namespace) for obj in objects("web:1")
        ]

    steps = [
        ("present", "web:1", ["created"] * 4),
        ("present", "web:1", ["unchanged"] * 4),
        ("present", "web:2", ["changed", "unchanged", "changed", "unchanged"]),
        ("present", "web:2", ["unchanged"] * 4),
        ("absent", "web:2", ["deleted"] * 4),
        ("absent", "web:2", ["unchanged"] * 4),
    ]
    for state, image, expected in steps:
        before = snapshot()
        predicted = run_module("kube_apply", objects=objects(image), state=state, check=True)
        assert snapshot() == before
        happened = run_module("kube_apply", objects=objects(image), state=state)
        assert actions(happened) == expected
        assert essence(predicted) == essence(happened)
        assert happened["changed"] is (set(expected) != {"unchanged"})


def test_a_step_without_change_writes_nothing(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    objects = [deployment("web", namespace), service("web", namespace)]
    actions(run_module("kube_apply", objects=objects))
    before = cluster.get("apps/v1", "Deployment", "web", namespace)
    actions(run_module("kube_apply", objects=objects, force_conflicts=True))
    assert cluster.get("apps/v1", "Deployment", "web", namespace) == before


def test_a_value_that_the_server_writes_differently_is_unchanged(run_module: RunModule, namespace: str) -> None:
    wished = deployment("web", namespace)
    wished["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m", "memory": "1024Mi"}}
    assert actions(run_module("kube_apply", objects=[wished])) == ["created"]
    assert actions(run_module("kube_apply", objects=[wished])) == ["unchanged"]


def test_drift_is_repaired_and_what_others_added_stays(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    wished = config_map("settings", namespace, a="1", b="2")
    actions(run_module("kube_apply", objects=[wished]))
    cluster.patch("v1", "ConfigMap", "settings", namespace, {"data": {"theirs": "x", "b": None}}, manager="someone")
    assert actions(run_module("kube_apply", objects=[wished])) == ["changed"]
    live = cluster.get("v1", "ConfigMap", "settings", namespace)
    assert live and live["data"] == {"a": "1", "b": "2", "theirs": "x"}


def test_a_field_no_longer_written_is_removed(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    actions(run_module("kube_apply", objects=[config_map("settings", namespace, a="1", b="2")]))
    assert actions(run_module("kube_apply", objects=[config_map("settings", namespace, a="1")])) == ["changed"]
    live = cluster.get("v1", "ConfigMap", "settings", namespace)
    assert live and live["data"] == {"a": "1"}


def test_a_conflict_names_owner_and_field_and_writes_nothing(
    run_module: RunModule, cluster: Cluster, namespace: str
) -> None:
    actions(run_module("kube_apply", objects=[config_map("settings", namespace, a="1")]))
    cluster.patch("v1", "ConfigMap", "settings", namespace, {"data": {"a": "2"}}, manager="rival")
    wished = [config_map("settings", namespace, a="3"), config_map("other", namespace, a="1")]
    for check in (True, False):
        result = run_module("kube_apply", objects=wished, check=check)
        assert result["failed"]
        assert "owned by another manager: data.a by rival" in result["msg"]
        assert cluster.get("v1", "ConfigMap", "other", namespace) is None
    forced = run_module("kube_apply", objects=wished, force_conflicts=True)
    assert actions(forced) == ["changed", "created"]
    live = cluster.get("v1", "ConfigMap", "settings", namespace)
    assert live and live["data"] == {"a": "3"}


def test_fields_of_another_owner_that_are_not_written_are_left_alone(
    run_module: RunModule, cluster: Cluster, namespace: str
) -> None:
    """The selector belongs to the switch, the replicas to the autoscaler."""
    objects = [deployment("web", namespace), service("web", namespace)]
    actions(run_module("kube_apply", objects=objects))
    cluster.patch("v1", "Service", "web", namespace, {"spec": {"selector": {"slot": "blue"}}}, manager="switch")
    cluster.patch(
        "apps/v1", "Deployment", "web", namespace, {"spec": {"replicas": 5}}, subresource="scale", manager="hpa"
    )
    assert actions(run_module("kube_apply", objects=objects)) == ["unchanged", "unchanged"]
    objects[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    assert actions(run_module("kube_apply", objects=objects)) == ["changed", "unchanged"]
    live = cluster.get("apps/v1", "Deployment", "web", namespace)
    assert live and live["spec"]["replicas"] == 5
    switched = cluster.get("v1", "Service", "web", namespace)
    assert switched and switched["spec"]["selector"] == {"slot": "blue"}


def test_secret_values_appear_nowhere(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    def objects(value: str) -> list[Object]:
        web = deployment("web", namespace)
        web["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "DB_PASSWORD", "value": f"env-{value}"}]
        return [
            secret("login", namespace, password=f"secret-{value}", user=f"plain-{value}"),
            config_map(
                "settings", namespace, dsn=f"postgres://app:url-{value}@db/app", **{"app.ini": f"token = ini-{value}"}
            ),
            web,
        ]

    for value in ("first-value", "second-value"):
        for check in (True, False):
            result = run_module("kube_apply", objects=objects(value), check=check, diff=True)
            assert result["changed"]
            text = json.dumps(result)
            coded = base64.b64encode(f"secret-{value}".encode()).decode()
            assert [word for word in (value, coded) if word in text] == []
    assert "<hidden, changed>" in text
    live = cluster.get("v1", "Secret", "login", namespace)
    assert live and base64.b64decode(live["data"]["password"]) == b"secret-second-value"


def test_the_servers_refusal_of_a_secret_does_not_quote_it(run_module: RunModule, namespace: str) -> None:
    wished = secret("login", namespace, **{"not a key/": "a long password"})
    result = run_module("kube_apply", objects=[wished])
    assert result["failed"] and "data" in result["msg"] and "a long password" not in json.dumps(result)


def test_the_diff_is_one_per_changed_object(run_module: RunModule, namespace: str) -> None:
    run_module("kube_apply", objects=[config_map("same", namespace, a="1"), config_map("other", namespace, a="1")])
    wished = [config_map("same", namespace, a="1"), config_map("other", namespace, a="2")]
    (diff,) = run_module("kube_apply", objects=wished, check=True, diff=True)["diff"]
    assert diff["before_header"] == f"ConfigMap {namespace}/other"
    assert "a: '1'" in diff["before"] and "a: '2'" in diff["after"]
    assert "managedFields" not in diff["after"] and "resourceVersion" not in diff["after"]


def test_two_namespaces_in_one_set(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    second = f"{namespace}-b"
    objects = [
        config_map("settings", second, a="2"),
        config_map("settings", a="1"),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": second}},
    ]
    predicted = run_module("kube_apply", objects=objects, namespace=namespace, check=True)
    assert cluster.get("v1", "Namespace", second) is None
    happened = run_module("kube_apply", objects=objects, namespace=namespace)
    assert actions(happened) == ["created"] * 3
    assert essence(predicted) == essence(happened)
    assert actions(run_module("kube_apply", objects=objects, namespace=namespace)) == ["unchanged"] * 3
    first = cluster.get("v1", "ConfigMap", "settings", namespace)
    assert first and first["data"] == {"a": "1"}


def test_a_definition_and_its_first_object(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    widgets = definition("widgets", "api-test.opsforge.dev")
    widget = {
        "apiVersion": "api-test.opsforge.dev/v1",
        "kind": "Widget",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": {"size": 1},
    }
    predicted = run_module("kube_apply", objects=[widget, widgets], check=True)
    happened = run_module("kube_apply", objects=[widget, widgets])
    assert actions(happened) == ["created", "created"]
    assert actions(predicted) == ["created", "created"]
    assert actions(run_module("kube_apply", objects=[widget, widgets])) == ["unchanged", "unchanged"]
    assert actions(run_module("kube_apply", objects=[widget])) == ["unchanged"], "found by discovery"

    wider = copy.deepcopy(widgets)
    properties = wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["colour"] = {"type": "string"}
    both = [{**widget, "spec": {"size": 1, "colour": "red"}}, wider]
    assert actions(run_module("kube_apply", objects=both, check=True)) == ["changed", "changed"]
    assert actions(run_module("kube_apply", objects=both)) == ["changed", "changed"]

    assert actions(run_module("kube_apply", objects=both, state="absent", wait=True)) == ["deleted", "deleted"]
    assert actions(run_module("kube_apply", objects=both, state="absent")) == ["unchanged", "unchanged"]


def test_check_mode_before_the_namespace_or_the_kind_exists(run_module: RunModule) -> None:
    """An earlier task of the same play would have made both."""
    objects = [
        config_map("settings", "not-there-yet", a="1"),
        {"apiVersion": "later.example.org/v1", "kind": "Thing", "metadata": {"name": "one"}},
    ]
    assert actions(run_module("kube_apply", objects=objects, check=True)) == ["created", "created"]


def test_check_mode_before_the_cluster_exists(run_module: RunModule, tmp_path: Path) -> None:
    objects = [config_map("settings", "apps", a="1")]
    missing = str(tmp_path / "kubeconfig")
    result = run_module("kube_apply", objects=objects, kubeconfig=missing, check=True, diff=True)
    assert actions(result) == ["created"]
    result = run_module("kube_apply", objects=objects, kubeconfig=missing)
    assert result["msg"] == f"the kubeconfig {missing} does not exist"


BAD: dict[str, tuple[Object, str]] = {
    "unknown field": ({"spce": {}}, ".spce: field not declared in schema"),
    "bad name": ({"metadata": {"name": "Not_Valid"}}, "Not_Valid"),
    "bad type": ({"data": {"a": 1}}, "data"),
    "no name": ({"metadata": {}}, "item 2 of objects: ConfigMap has no metadata.name"),
    "no kind": ({"kind": ""}, "item 2 of objects has no kind"),
    "unknown kind": ({"kind": "Nonsense"}, "the cluster does not know the kind Nonsense of v1"),
    "unknown version": ({"apiVersion": "x.example/v1"}, "does not know the kind ConfigMap of x.example/v1"),
    "no such namespace": ({"metadata": {"name": "bad", "namespace": "nowhere"}}, 'namespaces "nowhere" not found'),
    "twice": ({"metadata": {"name": "good"}}, "is given twice"),
    "bad wave": ({"metadata": {"name": "bad", "annotations": {"opsforge.dev/wave": "soon"}}}, "must be an integer"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_object_and_nothing_is_written(
    run_module: RunModule, cluster: Cluster, namespace: str, case: str
) -> None:
    change, message = BAD[case]
    bad = {**config_map("bad", a="1"), **change}
    result = run_module("kube_apply", objects=[config_map("good", a="1"), bad], namespace=namespace)
    assert result["failed"] and message in result["msg"]
    assert cluster.get("v1", "ConfigMap", "good", namespace) is None


def test_many_objects_are_read_by_lists_and_all_arrive(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    objects = [config_map(f"map-{number}", namespace, a=str(number)) for number in range(30)]
    assert actions(run_module("kube_apply", objects=objects)) == ["created"] * 30
    cluster.patch("v1", "ConfigMap", "map-7", namespace, {"data": {"a": None}}, manager="someone")
    expected = ["changed" if number == 7 else "unchanged" for number in range(30)]
    assert actions(run_module("kube_apply", objects=objects)) == expected


def test_texts_and_files(run_module: RunModule, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(json.dumps(config_map("from-file", a="1")))
    (tmp_path / "notes.txt").write_text("not a manifest")
    text = textwrap.dedent(
        """
        apiVersion: v1
        kind: List
        items:
          - {apiVersion: v1, kind: ConfigMap, metadata: {name: from-list}, data: {a: "1"}}
        ---
        # nothing but a comment
        ---
        {apiVersion: v1, kind: ConfigMap, metadata: {name: from-text}, data: {a: "1"}}
        """
    )
    result = run_module("kube_apply", objects=[text], src=[str(tmp_path)], namespace=namespace)
    assert [entry["name"] for entry in result["results"]] == ["from-list", "from-text", "from-file"]
    assert cluster.get("v1", "ConfigMap", "from-file", namespace)


def test_a_wait_that_ends_in_time_names_what_is_missing(run_module: RunModule, namespace: str) -> None:
    """No controller runs here, so the Deployment never becomes ready."""
    objects = [config_map("settings", namespace, a="1"), deployment("web", namespace)]
    result = run_module("kube_apply", objects=objects, wait=True, wait_timeout=1)
    assert result["msg"].startswith(f"Deployment {namespace}/web is not ready after 1 s: its controller has not seen")
    assert [entry["action"] for entry in result["results"]] == ["created", "created"]
    assert result["changed"]


def test_a_failing_pod_is_named_with_event_and_reason(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    }
    actions(run_module("kube_apply", objects=[pod]))
    waiting = {"reason": "InvalidImageName", "message": "cannot parse web::1"}
    container = {
        "name": "web",
        "image": "web:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": waiting},
    }
    status = {"phase": "Pending", "containerStatuses": [container]}
    cluster.patch("v1", "Pod", "web", namespace, {"status": status}, subresource="status")
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "web.1", "namespace": namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": namespace},
            "type": "Warning",
            "reason": "InspectFailed",
            "message": "the image name is wrong",
            "lastTimestamp": "2030-01-01T00:00:00Z",
        }
    )
    result = run_module("kube_apply", objects=[pod], wait=True, wait_timeout=30)
    assert f"Pod {namespace}/web will not become ready" in result["msg"]
    assert "container web: InvalidImageName (cannot parse web::1)" in result["msg"]
    assert "latest warning of Pod web: InspectFailed: the image name is wrong" in result["msg"]


def test_a_server_that_is_not_there(run_module: RunModule, control_plane: Any, tmp_path: Path) -> None:
    config = json.loads(control_plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:1"}
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    result = run_module("kube_apply", objects=[config_map("x", "y")], kubeconfig=str(file))
    assert result["msg"] == "the API server https://127.0.0.1:1 cannot be reached: connection refused"


def test_credentials_that_are_not_accepted(run_module: RunModule, control_plane: Any, tmp_path: Path) -> None:
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "wrong"
    config["clusters"][0]["cluster"]["certificate-authority"] = str(control_plane.folder / "certs/apiserver.crt")
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    result = run_module("kube_apply", objects=[config_map("x", "y")], kubeconfig=str(file))
    assert "the API server does not accept the credentials" in result["msg"]


def test_a_login_plugin(run_module: RunModule, control_plane: Any, namespace: str, tmp_path: Path) -> None:
    """A kubeconfig as clouds write it: a program prints the token."""
    config = json.loads(control_plane.kubeconfig.read_text())
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": config["users"][0]["user"]["token"]},
    }
    plugin = tmp_path / "login"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(stat.S_IRWXU)
    config["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "Never",
        }
    }
    config["clusters"][0]["cluster"]["certificate-authority"] = str(control_plane.folder / "certs/apiserver.crt")
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    result = run_module("kube_apply", objects=[config_map("x", namespace, a="1")], kubeconfig=str(file))
    assert actions(result) == ["created"]
