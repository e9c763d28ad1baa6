# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventories say of the services can work, what can't is refused, and one word draws both ends of an edge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager

from ansible_collections.opsforge.platform.plugins.module_utils._service_dashboards import uid
from ansible_collections.opsforge.platform.plugins.module_utils._services import KEYS, complaints, order

COLLECTION = Path(__file__).parents[2]
CHECKOUT = COLLECTION.parents[3]
ROLE = COLLECTION / "roles/service"
ENVIRONMENTS = sorted(path.name for path in (CHECKOUT / "inventories").iterdir())

Object = dict[str, Any]

AUTH = {"version": "1.0.0", "path": "/auth", "database": True}


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"versoin": "1.0.0"}, "there is no key versoin; there are approval, args,"),
        (
            {"version": 1.0},
            "version must be a version like 1.2.3, of letters, digits, dots and dashes, 63 at most, in quotes",
        ),
        ({"path": "auth/"}, "path must be a path like /auth, or empty and not 'auth/'"),
        ({"size": {"memroy": "1Gi"}}, "size must be quantities like 100m"),
        ({"size": {"memory": "a lot"}}, "size must be quantities like 100m"),
        ({"replicas_min": True}, "replicas_min must be a whole number"),
        ({"replicas_min": 3, "replicas_max": 2}, "it has at least 3 replicas and at most 2"),
        ({"replicas_max": 1}, "it has at least 2 replicas and at most 1"),
        ({"slo": {"availability_percent": 99.9}}, "slo must be all of availability_percent and latency_percent"),
        ({"slo": {"availability_percent": 100, "latency_seconds": 1, "latency_percent": 99}}, "slo must be"),
        ({"strategy": "canary"}, "strategy must be one of blue_green, worker and not 'canary'"),
        ({"strategy": "worker"}, "a worker answers nobody, so it has no path"),
        ({"calls": ["nobody"]}, "it calls nobody, which is no service here; there are auth, orders, worker"),
        ({"calls": ["auth"]}, "it needs no edge to call itself"),
        ({"calls": ["worker"]}, "it calls worker, a worker, which answers nobody"),
        ({"calls": "orders"}, "calls must be a list of services and not 'orders'"),
        ({"database": False, "database_of": "nobody"}, "it uses the database of nobody, which has none"),
        ({"database_of": "orders"}, "it has a database of its own, or that of another service, and not both"),
        ({"redis": ["*"]}, "redis must be a list of the keys it may touch"),
        ({"redis": True}, "redis must be a list of the keys it may touch"),
        ({"env": {"lower": "1"}}, "env must be environment variables by name"),
        ({"requests_per_second": -1}, "requests_per_second must be a number, 0 or larger"),
    ],
    ids=lambda value: None,
)
def test_a_mistake_gets_one_sentence(entry: Object, words: str) -> None:
    others = {"orders": {"version": "1.0.0", "database": True}, "worker": {"version": "1.0.0", "strategy": "worker"}}
    (found,) = complaints({"auth": {**AUTH, **entry}, **others})
    assert found.startswith(f"Service auth: {words}")


def test_a_secret_is_not_repeated() -> None:
    (found,) = complaints({"auth": {**AUTH, "secrets": "hunter2hunter2"}})
    assert "secrets must be" in found and "hunter2" not in found


def test_a_name_and_an_entry_that_are_none() -> None:
    assert len(complaints({"Auth!": AUTH, "orders": None, "jobs": {}})) == 3


def test_every_name_that_is_accepted_has_a_dashboard_that_grafana_takes() -> None:
    longest = "a" * 32
    assert complaints({longest: AUTH}) == []
    assert len(uid(longest)) <= 40, "Grafana takes 40 characters"
    (found,) = complaints({longest + "a": AUTH})
    assert "32 at most" in found


def test_each_key_of_an_entry_is_an_option_of_the_role() -> None:
    """One that is checked and not used, or used and not checked, would be a trap."""
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {f"service_{key}" for key in KEYS} - set(options) == set()
    used = re.findall(r"service_entry\.(\w+)", (ROLE / "defaults/main.yml").read_text())
    assert sorted(used) == sorted(KEYS)


@pytest.fixture(scope="module", autouse=True)
def ansible_plugins() -> None:
    """Ansible's own; of ours the templates use none but what is given to them here."""
    init_plugin_loader([])


@cache
def variables(environment: str) -> Object:
    """What the inventory says to the controller."""
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(CHECKOUT / "inventories" / environment)])
    manager = VariableManager(loader=loader, inventory=inventory)
    found: Object = manager.get_vars(host=inventory.get_host("localhost"))
    return found


def template(text: str, known: Object) -> Any:
    """Ansible's answer to a template."""
    return Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))


@cache
def services(environment: str) -> Object:
    """The services of an environment."""
    found: Object = template("{{ platform_services }}", variables(environment))
    return found


@cache
def rendered(environment: str) -> dict[tuple[str, str], Object]:
    """Every object of every service in a cluster that has none yet, by kind and name."""

    def load(path: str) -> Object:
        found: Object = DataLoader().load_from_file(str(ROLE / path), trusted_as_template=True)
        return found

    empty = {"target": "blue", "autoscaler": None, "autoscaler_follows": None}
    names = list(services(environment))
    nothing_known: Object = {name: {} for name in names + [f"{name}-internal" for name in names]}
    states = {name: {**empty, "versions": {"blue": entry["version"]}} for name, entry in services(environment).items()}
    known = {
        **load("defaults/main.yml"),
        **variables(environment),
        **load("vars/main.yml"),
        "ansible_search_path": [str(ROLE)],
        "ansible_check_mode": False,
        "__service_known": nothing_known,
        "__service_look": {"services": states},
    }
    text = template("{{ lookup('ansible.builtin.template', 'services.yml.j2') }}", known)
    objects = [found for found in yaml.safe_load_all(text) if found]
    by_name = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    assert len(by_name) == len(objects), "two objects of one name"
    return by_name


def container(environment: str, name: str) -> Object:
    found: Object = rendered(environment)["Deployment", f"{name}-blue"]["spec"]["template"]["spec"]["containers"][0]
    return found


def variables_of(environment: str, name: str) -> dict[str, Any]:
    """The container's environment: texts, and where the others come from."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(environment, name)["env"]}


def edges(environment: str, direction: str) -> Iterator[tuple[str, str]]:
    """Caller and callee by the policies of one side."""
    for (kind, name), found in rendered(environment).items():
        for rule in found["spec"].get(direction, []) if kind == "NetworkPolicy" else []:
            for peer in rule.get("from", []) + rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    other = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                    yield (other, name) if direction == "ingress" else (name, other)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
class TestEnvironment:
    def test_its_services_can_work(self, environment: str) -> None:
        assert complaints(services(environment)) == []

    def test_an_edge_is_open_at_both_ends_and_no_other_is(self, environment: str) -> None:
        drawn = {(name, callee) for name, entry in services(environment).items() for callee in entry.get("calls", [])}
        assert drawn
        assert set(edges(environment, "egress")) == drawn
        assert set(edges(environment, "ingress")) == drawn

    def test_each_may_and_does_send_its_traces_to_the_collector(self, environment: str) -> None:
        way_out = {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            "ports": [{"port": 4318}],
        }
        for name in services(environment):
            assert variables_of(environment, name)["OPSFORGE_OTLP_ENDPOINT"] == "http://collector.kube-system:4318"
            assert way_out in rendered(environment)["NetworkPolicy", name]["spec"]["egress"]

    def test_a_caller_knows_address_and_key_of_those_it_calls_and_of_nobody_else(self, environment: str) -> None:
        for name, entry in services(environment).items():
            told = variables_of(environment, name)
            for other, its_entry in services(environment).items():
                prefix = f"OPSFORGE_{other.upper()}"
                called = other in entry.get("calls", [])
                assert told.get(f"{prefix}_URL") == (f"http://{other}" if called else None)
                key = told.get(f"{prefix}_KEY")
                if called and its_entry.get("internal_key", True):
                    assert key == {"secretKeyRef": {"name": f"{other}-internal", "key": "OPSFORGE_INTERNAL_KEY"}}
                    assert variables_of(environment, other)["OPSFORGE_INTERNAL_KEY"] == key
                else:
                    assert key is None

    def test_a_service_has_the_stores_it_asked_for(self, environment: str) -> None:
        for name, entry in services(environment).items():
            told = variables_of(environment, name)
            owner = name if entry.get("database") else entry.get("database_of")
            wanted = {"secretKeyRef": {"name": f"{owner}-database", "key": "DATABASE_URL"}} if owner else None
            assert told.get("OPSFORGE_DATABASE_URL") == wanted
            wanted = {"secretKeyRef": {"name": f"{name}-redis", "key": "REDIS_URL"}} if entry.get("redis") else None
            assert told.get("OPSFORGE_REDIS_URL") == wanted

    def test_a_worker_answers_nobody(self, environment: str) -> None:
        found = rendered(environment)
        assert [port["name"] for port in container(environment, "worker")["ports"]] == ["management"]
        assert container(environment, "worker")["args"] == ["worker"]
        assert container(environment, "worker")["image"] == container(environment, "jobs")["image"]
        assert ("HTTPRoute", "worker") not in found and ("Service", "worker-preview") not in found
        assert [port["name"] for port in found["Service", "worker"]["spec"]["ports"]] == ["management"]

    def test_a_trace_begins_behind_the_entrance(self, environment: str) -> None:
        routes = [found for (kind, _), found in rendered(environment).items() if kind == "HTTPRoute"]
        assert routes
        for rule in (rule for route in routes for rule in route["spec"]["rules"]):
            filters = {one["type"]: one for one in rule["filters"]}
            removed = filters["RequestHeaderModifier"]["requestHeaderModifier"]["remove"]
            assert set(removed) == {"traceparent", "tracestate"}, "or anybody decides what is exported"
            assert "URLRewrite" in filters

    def test_objectives_are_published(self, environment: str) -> None:
        for name, entry in services(environment).items():
            annotations = rendered(environment)["Service", name]["metadata"].get("annotations", {})
            published = {
                f"slo.opsforge.dev/{key.replace('_', '-')}": str(value) for key, value in entry.get("slo", {}).items()
            }
            assert annotations == published

    def test_nothing_here_sizes_or_selects(self, environment: str) -> None:
        for (kind, _), found in rendered(environment).items():
            assert kind != "Service" or "selector" not in found["spec"]
            assert kind != "Deployment" or "replicas" not in found["spec"]


CHAIN = {
    "worker": {"database_of": "jobs"},
    "orders": {"calls": ["auth", "catalog"]},
    "catalog": {"calls": ["auth"]},
    "auth": {},
    "jobs": {"calls": ["auth"]},
    "left": {"calls": ["right"]},
    "right": {"calls": ["left"]},
}


@pytest.mark.parametrize(
    "chosen, found",
    [
        (["orders", "catalog", "auth"], ["auth", "catalog", "orders"]),
        (["worker", "jobs"], ["jobs", "worker"]),
        (["orders", "auth"], ["auth", "orders"]),
        (["worker", "auth"], ["auth", "worker"]),
        (["left", "right"], ["right", "left"]),
        (["nobody"], []),
        ([], []),
    ],
)
def test_a_joint_release_goes_from_callee_to_caller(chosen: list[str], found: list[str]) -> None:
    assert order(CHAIN, chosen) == found


def limits(environment: str, name: str) -> Object:
    found: Object = container(environment, name)["resources"]
    return found


def test_environments_differ_in_size_and_in_nothing_else() -> None:
    sizes = {name: services(name)["orders"] for name in ("dev", "staging", "prod")}
    assert [entry["replicas_min"] for entry in sizes.values()] == [1, 2, 3]
    assert [limits(name, "orders")["limits"]["memory"] for name in sizes] == ["192Mi", "256Mi", "512Mi"]
    rest = [
        {key: value for key, value in entry.items() if key not in ("replicas_min", "replicas_max", "size")}
        for entry in sizes.values()
    ]
    assert rest[0] == rest[1] == rest[2]


def test_what_is_said_of_one_service_wins_over_what_is_said_of_all() -> None:
    assert limits("prod", "auth")["requests"] == {"cpu": "500m", "memory": "160Mi"}
    assert limits("prod", "orders")["requests"] == {"cpu": "250m", "memory": "160Mi"}
