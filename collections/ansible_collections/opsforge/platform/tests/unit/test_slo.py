# SPDX-License-Identifier: GPL-3.0-or-later
"""Promises of entries and of documents become rules; those that nobody can keep watch over are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import Histogram

from ansible_collections.opsforge.platform.plugins.filter.slo import rules
from ansible_collections.opsforge.platform.plugins.module_utils._slo import BUCKETS, of_services
from ansible_collections.opsforge.platform.plugins.module_utils._slo_documents import complaints

Object = dict[str, Any]

PROMISE = {"availability_percent": 99.95, "latency_seconds": 1, "latency_percent": 99}
SERVICES: dict[str, Any] = {
    "auth": {"slo": PROMISE},
    "jobs": {},
    "worker": {"strategy": "worker", "database_of": "jobs", "queue_age_seconds": 10},
}
EVENTS_BY_POD = {"error_query": "e[{{.window}}]", "total_query": "t[{{.window}}]"}
EVENTS = {"error_query": "sum(rate(stuck[{{.window}}]))", "total_query": "sum(rate(asked[{{.window}}]))"}
DOCUMENT: Object = {
    "version": "prometheus/v1",
    "service": "door",
    "slos": [{"name": "opens", "objective": 99.9, "description": "It opens.", "sli": {"events": EVENTS}}],
}


def document(change: Callable[[Object], Any]) -> Object:
    """A document with something changed: in itself, or in its one SLO by `slos`."""
    changed = copy.deepcopy(DOCUMENT)
    change(changed)
    return changed


def slo(**changes: Any) -> Object:
    """A document whose SLO says this instead."""
    return document(lambda found: found["slos"][0].update(changes))


def recorded(name: str, services: Any = SERVICES, documents: Any = (), **labels: str) -> list[Object]:
    """The rules that record this, with these labels."""
    return [
        rule
        for group in rules(services, documents, namespace="apps")["groups"]
        for rule in group["rules"]
        if rule.get("record") == name and labels.items() <= rule.get("labels", {}).items()
    ]


def alerts(documents: Any = (), services: Any = SERVICES) -> list[Object]:
    groups = rules(services, documents, namespace="apps")["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


class TestServices:
    def test_promise_what_their_entry_says(self) -> None:
        found = [(one.service, one.name, str(one.objective)) for one in of_services(SERVICES, "apps")]
        assert found == [
            ("auth", "availability", "0.9995"),
            ("auth", "latency", "0.99"),
            ("worker", "freshness", "0.99"),
        ]

    @pytest.mark.parametrize(
        "name, value",
        [("slo:objective:ratio", "0.9995"), ("slo:error_budget:ratio", "0.0005"), ("slo:failures_min:count", "10")],
    )
    def test_numbers_are_written_without_a_rounding_error(self, name: str, value: str) -> None:
        (rule,) = recorded(name, service="auth", slo="availability")
        assert rule["expr"] == f"vector({value})"

    def test_probes_do_not_count(self) -> None:
        queries = [
            one for slo in of_services({"auth": {"slo": PROMISE}}, "apps") for one in (slo.error_query, slo.total_query)
        ]
        assert [query for query in queries if 'route!~"/health|/info"' not in query] == []

    def test_latency_is_counted_by_the_bucket_as_any_prometheus_writes_it(self) -> None:
        (rule,) = recorded("slo:sli_errors:increase5m", service="auth", slo="latency")
        assert 'le=~"1([.]0)?"' in rule["expr"]

    def test_buckets_are_those_that_services_count_with(self) -> None:
        assert (*BUCKETS, float("inf")) == Histogram.DEFAULT_BUCKETS

    @pytest.mark.parametrize("seconds, late", [(0.5, 60), (10, 60), (20, 80)])
    def test_a_queue_is_late_when_the_autoscaler_has_had_its_chance(self, seconds: float, late: int) -> None:
        (found,) = of_services({"worker": {"strategy": "worker", "queue_age_seconds": seconds}}, "apps")
        assert f"> bool {late})" in found.error_query

    def test_the_queue_is_known_to_the_service_whose_it_is(self) -> None:
        """A worker that is gone shows nothing."""
        found = of_services(SERVICES, "apps")[-1]
        assert 'service=~"worker|jobs"' in found.error_query and found.labels["team"] == "worker"

    def test_no_promise_is_no_rule(self) -> None:
        assert rules({"jobs": {}}, namespace="apps") == {"groups": []}

    def test_many_of_them_fit_into_one_config_map(self) -> None:
        many = rules({f"service-{number}": {"slo": PROMISE} for number in range(100)}, namespace="apps")
        assert len(str(many)) < 700_000, "a ConfigMap takes a million bytes, and there are other rules"


class TestDocuments:
    def test_give_all_they_say(self) -> None:
        (rule,) = recorded("slo:sli_events:increase5m", {}, [DOCUMENT])
        assert rule["labels"] == {"team": "api", "category": "service_health", "service": "door", "slo": "opens"}
        assert rule["expr"] == "(sum(sum(rate(asked[5m])))) * 300"

    def test_counts_are_taken_as_they_are(self) -> None:
        counted = {key: query.replace("rate", "increase") for key, query in EVENTS.items()}
        (rule,) = recorded("slo:sli_events:increase1h", {}, [slo(sli={"events": counted})])
        assert rule["expr"] == "sum(sum(increase(asked[1h])))"

    @pytest.mark.parametrize(
        "sli, name, asked",
        [
            ({"events": EVENTS_BY_POD}, "slo:sli_events:increase5m", "sum(t[5m])"),
            ({"events": EVENTS_BY_POD}, "slo:sli_errors:increase5m", "sum(e[5m])"),
            ({"raw": {"error_ratio_query": "r[{{.window}}]"}}, "slo:sli_error:ratio_rate5m", "max(r[5m])"),
            ({"raw": {"error_ratio_query": "r[{{.window}}]"}}, "slo:sli_error:ratio_rate6h", "max(r[6h])"),
        ],
    )
    def test_many_series_are_one_promise(self, sli: Any, name: str, asked: str) -> None:
        """With labels of their own they would equal no objective, and nobody would ever be told."""
        assert any(asked in rule["expr"] for rule in recorded(name, {}, [slo(sli=sli)]))

    def test_labels_go_to_all_series_the_narrower_ones_first(self) -> None:
        wide = document(lambda found: found.update(labels={"team": "sre", "owner": "us"}))
        wide["slos"][0]["labels"] = {"owner": "me"}
        (rule,) = recorded("slo:objective:ratio", {}, [wide])
        assert (rule["labels"]["team"], rule["labels"]["owner"]) == ("sre", "me")

    def test_of_a_worker_is_its_teams(self) -> None:
        named = document(lambda found: found.update(service="worker"))
        (rule,) = recorded("slo:objective:ratio", SERVICES, [named], slo="opens")
        assert rule["labels"]["team"] == "worker"

    def test_without_alerting_has_the_common_alerts(self) -> None:
        assert alerts([DOCUMENT]) == alerts()

    def test_own_alerts_stand_in_place_of_the_common_ones(self) -> None:
        own = slo(alerting={"name": "DoorStuck", "page_alert": {"disable": True}})
        found = alerts([own], {})
        assert [(rule["alert"], rule["labels"]["window"]) for rule in found] == [
            ("DoorStuck", "1d"),
            ("DoorStuck", "3d"),
        ]
        common = [rule for rule in alerts([own]) if rule["alert"] == "SLOBurnRateHigh"]
        assert len(common) == 4 and all("unless slo:own_alerts:info" in rule["expr"] for rule in common)

    def test_an_alert_that_can_never_fire_is_none(self) -> None:
        found = alerts([slo(objective=90, alerting={"name": "DoorStuck"})], {})
        assert [rule["labels"]["window"] for rule in found] == ["6h", "1d", "3d"]

    def test_may_want_another_number_of_failures(self) -> None:
        (rule,) = recorded("slo:failures_min:count", {}, [slo(failures_min=2.5)])
        assert rule["expr"] == "vector(2.5)"


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"slo": {**PROMISE, "latency_seconds": 2}}, "is between two buckets of http_request_duration_seconds, so that"
         " nobody can count by it; the next ones are 1 and 2.5."),
        ({"slo": {**PROMISE, "latency_seconds": 20}}, "outside the buckets of http_request_duration_seconds, so that"
         " nobody can count by it; the next one is 10."),
        ({"slo": {**PROMISE, "latency_seconds": 0.001}}, "the next one is 0.005."),
        ({"slo": {"availability_percent": 99}}, "slo must be all of availability_percent and latency_percent"),
        ({"slo": {**PROMISE, "availability_percent": 100}}, "slo must be all of"),
        ({"queue_age_seconds": "10"}, "queue_age_seconds must be a number, 0 or larger and not '10'"),
        ({"strategy": "worker", "slo": PROMISE}, "a worker answers nobody, so it has no slo of answers"),
        ("auth", "its entry must be a mapping"),
    ],
)  # fmt: skip
def test_an_entry_that_promises_what_nobody_can_see_is_refused(entry: Any, words: str) -> None:
    (told,) = complaints({"auth": entry}, [])
    assert told.startswith("Service auth: ") and words in told


@pytest.mark.parametrize(
    "given, words",
    [
        ("text", "SLO document 1: it must be a mapping."),
        (document(lambda found: found.update(version="v2")), "of door: version must be prometheus/v1 and not 'v2'."),
        (document(lambda found: found.update(service="a b")), "service must be a name of letters"),
        (document(lambda found: found.update(slo_plugins={})), "it has no key slo_plugins; there are version,"),
        (document(lambda found: found.update(slos=[])), "slos must be a list that is not empty."),
        (document(lambda found: found.update(labels={"slo": "x"})), "labels has slo, which the rules set themselves."),
        (document(lambda found: found.update(labels={"a-b": "x"})), "labels must be texts by names"),
        (slo(objective=100), "slo opens: objective must be a number of percent above 0 and below 100 and not 100."),
        (slo(objective="99"), "objective must be a number of percent"),
        (slo(objective=float("nan")), "objective must be a number of percent"),
        (slo(name=""), "slo 1: name must be a name of letters"),
        (slo(failures_min=-1), "failures_min must be a number, 0 or larger, and not -1."),
        (slo(sli={"raw": {"error_ratio_query": "a[{{.window}}]"}}, failures_min=3), "failures_min needs sli.events:"),
        (slo(sli={}), "sli must have one of events and raw."),
        (slo(sli={"events": EVENTS, "raw": {"error_ratio_query": "a[{{.window}}]"}}), "sli must have one of"),
        (slo(sli={"plugin": {"id": "x"}}), "sli.plugin is a program of sloth's, which is not run here"),
        (slo(sli={"events": {**EVENTS, "total_query": "sum(rate(asked[5m]))"}}), "sli.events.total_query must be a"
         " query with {{.window}} where its duration belongs."),
        (slo(sli={"events": {"error_query": EVENTS["error_query"]}}), "sli.events.total_query must be a query"),
        (slo(sli={"raw": {"error_ratio_query": "a[{{.window}}] * {{.x}}"}}), "a template other than {{.window}}."),
        (slo(alerting={"name": "a b"}), "alerting.name must be one of letters"),
        (slo(alerting={"page_alert": {"disable": "yes"}}), "alerting.page_alert.disable must be true or false."),
        (slo(alerting={"page_alert": {"severity": "x"}}), "alerting.page_alert has no key severity; there are"),
        (slo(alerting={"labels": {"window": "x"}}), "alerting.labels has window, which the rules set themselves."),
        (slo(alerting={"annotations": ["x"]}), "alerting.annotations must be a mapping."),
        (document(lambda found: found["slos"].append(found["slos"][0])), "Service door has the objective opens twice."),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_meant_is_refused(given: Any, words: str) -> None:
    (told,) = complaints({}, [given])
    assert words in told


@pytest.mark.parametrize(
    "given, words",
    [
        ({"freshness_percent": 0.99}, "at least 50 and below 100 and not 0.99."),
        ({"freshness_percent": 100}, "at least 50 and below 100 and not 100."),
        ({"failures_min": -1}, "must be 0 or larger and not -1."),
    ],
)
def test_a_number_for_all_that_cannot_be_meant_is_refused(given: dict[str, float], words: str) -> None:
    (told,) = complaints(SERVICES, [], **given)
    assert words in told


def test_good_promises_are_not_complained_about() -> None:
    raw = slo(
        name="other", sli={"raw": {"error_ratio_query": "a[{{ .window }}]"}}, alerting={"name": "A", "labels": {"b": 1}}
    )
    assert complaints(SERVICES, [DOCUMENT, raw]) == []


def test_a_page_leaves_the_first_word_to_the_alert_that_knows_the_reason() -> None:
    waits = {rule["labels"]["window"]: rule.get("for") for rule in alerts() if rule["alert"] == "SLOBurnRateHigh"}
    assert waits == {"1h": "2m", "6h": "2m", "1d": None, "3d": None}
