# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of sloth's specification: the objectives they hold, or what is wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._slo import (
    FAILURES_MIN,
    FRESHNESS_PERCENT,
    PAGE,
    TICKET,
    WINDOW,
    Alerting,
    Slo,
    of_services,
    service_mistakes,
    team,
)

_VERSION = "prometheus/v1"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_NAME_WORDS = "a name of letters, digits, dots and dashes, 63 at most,"
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ALERT_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_PER_SECOND = re.compile(r"\bi?rate\s*\(")
# What a document may say, by where it says it. Only failures_min is not sloth's.
_DOCUMENT = ("version", "service", "labels", "slos")
_OBJECTIVE = ("name", "description", "objective", "labels", "sli", "alerting", "failures_min")
_ALERTING = ("name", "labels", "annotations", "page_alert", "ticket_alert")
_ALERT = ("disable", "labels", "annotations")
# What the rules say themselves.
_RESERVED = ("service", "slo", "window", "alertname")


def of_documents(
    documents: Sequence[Mapping[str, Any]], services: Mapping[str, Any], *, failures_min: float = FAILURES_MIN
) -> list[Slo]:
    """What documents of sloth's specification promise. They must have no complaints()."""
    return [
        _of_document(document, given, team(services.get(document["service"], {})), failures_min)
        for document in documents
        for given in document["slos"]
    ]


def complaints(
    services: Mapping[str, Any],
    documents: Sequence[Any],
    *,
    failures_min: float = FAILURES_MIN,
    freshness_percent: float = FRESHNESS_PERCENT,
) -> list[str]:
    """Return one sentence for each mistake in promises, none if they can be kept watch over."""
    found = []
    if not _is_number(failures_min) or failures_min < 0:
        found.append(f"The least number of failures must be 0 or larger and not {failures_min!r}.")
    # Below it is most likely a share that was meant as percent.
    if not _is_number(freshness_percent) or not 50 <= freshness_percent < 100:
        found.append(
            f"The percentage of fresh minutes must be at least 50 and below 100 and not {freshness_percent!r}."
        )
    found += [f"Service {name}: {mistake}." for name, entry in services.items() for mistake in service_mistakes(entry)]
    for number, document in enumerate(documents, 1):
        service = document.get("service") if isinstance(document, Mapping) else None
        where = f"SLO document {number}" + (f" of {service}" if isinstance(service, str) and service else "")
        found += [f"{where}: {mistake}." for mistake in _document_mistakes(document)]
    if not found:
        found += _twice([*of_services(services, ""), *of_documents(documents, services)])
    return found


def _of_document(document: Mapping[str, Any], given: Mapping[str, Any], whose: str, failures_min: float) -> Slo:
    events, raw = given["sli"].get("events") or {}, given["sli"].get("raw") or {}
    total = _one(events.get("total_query"), "sum")
    return Slo(
        document["service"],
        given["name"],
        given["objective"],
        {
            "team": whose,
            "category": "service_health",
            **_texts(document.get("labels")),
            **_texts(given.get("labels")),
        },
        error_query=_one(events.get("error_query"), "sum"),
        total_query=total,
        ratio_query=_one(raw.get("error_ratio_query"), "max"),
        per_second=bool(_PER_SECOND.search(total)),
        failures_min=given.get("failures_min", failures_min),
        alerting=_alerting(given.get("alerting") or {}),
    )


def _one(query: str | None, by: str) -> str:
    """The query as one series: the rules compare it with the objective, which has no other labels."""
    return f"{by}({query.strip()})" if query else ""


def _alerting(given: Mapping[str, Any]) -> dict[str, Alerting]:
    """By kind, as soon as the document says anything."""
    found = {}
    for kind in (PAGE, TICKET) if given else ():
        own = given.get(f"{kind}_alert") or {}
        found[kind] = Alerting(
            given.get("name") or "",
            {**_texts(given.get("labels")), **_texts(own.get("labels"))},
            {**_texts(given.get("annotations")), **_texts(own.get("annotations"))},
            not own.get("disable", False),
        )
    return found


def _texts(given: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(key): str(value) for key, value in (given or {}).items()}


def _document_mistakes(document: Any) -> Iterator[str]:
    if not isinstance(document, Mapping):
        yield "it must be a mapping"
        return
    yield from _unknown(document, _DOCUMENT, "it")
    if document.get("version") != _VERSION:
        yield f"version must be {_VERSION} and not {document.get('version')!r}"
    if not _is_name(document.get("service")):
        yield f"service must be {_NAME_WORDS} and not {document.get('service')!r}"
    yield from _label_mistakes(document.get("labels"), "labels", _RESERVED)
    slos = document.get("slos")
    if not isinstance(slos, list) or not slos:
        yield "slos must be a list that is not empty"
        return
    for number, given in enumerate(slos, 1):
        name = given.get("name") if isinstance(given, Mapping) else None
        where = f"slo {name if _is_name(name) else number}"
        yield from (f"{where}: {mistake}" for mistake in _objective_mistakes(given))


def _objective_mistakes(given: Any) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield "it must be a mapping"
        return
    yield from _unknown(given, _OBJECTIVE, "it")
    if not _is_name(given.get("name")):
        yield f"name must be {_NAME_WORDS} and not {given.get('name')!r}"
    percent: Any = given.get("objective")
    if not _is_number(percent) or not 0 < percent < 100:
        yield f"objective must be a number of percent above 0 and below 100 and not {percent!r}"
    least: Any = given.get("failures_min", 0)
    if not _is_number(least) or least < 0:
        yield f"failures_min must be a number, 0 or larger, and not {least!r}"
    yield from _label_mistakes(given.get("labels"), "labels", _RESERVED)
    sli = given.get("sli")
    yield from _sli_mistakes(sli)
    if "failures_min" in given and isinstance(sli, Mapping) and sli.get("raw"):
        yield "failures_min needs sli.events: of a ratio nobody knows how many failed"
    yield from _alerting_mistakes(given.get("alerting") or {})


def _sli_mistakes(sli: Any) -> Iterator[str]:
    if not isinstance(sli, Mapping):
        yield "it needs an sli"
        return
    if "plugin" in sli:
        yield "sli.plugin is a program of sloth's, which is not run here: write its queries as sli.events"
        return
    yield from _unknown(sli, ("events", "raw"), "sli")
    kinds = {"events": ("error_query", "total_query"), "raw": ("error_ratio_query",)}
    chosen = [kind for kind in kinds if sli.get(kind)]
    if len(chosen) != 1:
        yield "sli must have one of events and raw"
        return
    kind, queries = chosen[0], sli[chosen[0]]
    if not isinstance(queries, Mapping):
        yield f"sli.{kind} must be a mapping"
        return
    yield from _unknown(queries, kinds[kind], f"sli.{kind}")
    for key in kinds[kind]:
        query = queries.get(key)
        if not isinstance(query, str) or not WINDOW.search(query):
            yield f"sli.{kind}.{key} must be a query with {{{{.window}}}} where its duration belongs"
        elif "{{" in WINDOW.sub("", query):
            yield f"sli.{kind}.{key} holds a template other than {{{{.window}}}}"


def _alerting_mistakes(alerting: Any) -> Iterator[str]:
    if not isinstance(alerting, Mapping):
        yield "alerting must be a mapping"
        return
    yield from _unknown(alerting, _ALERTING, "alerting")
    name = alerting.get("name")
    if name and not (isinstance(name, str) and _ALERT_NAME.fullmatch(name)):
        yield f"alerting.name must be one of letters, digits and underscores and not {name!r}"
    for key, part in {
        "": alerting,
        **{f"{kind}_alert.": alerting.get(f"{kind}_alert") for kind in (PAGE, TICKET)},
    }.items():
        if part is None:
            continue
        if not isinstance(part, Mapping):
            yield f"alerting.{key.rstrip('.')} must be a mapping"
            continue
        if key:
            yield from _unknown(part, _ALERT, f"alerting.{key.rstrip('.')}")
            if not isinstance(part.get("disable", False), bool):
                yield f"alerting.{key}disable must be true or false"
        yield from _label_mistakes(part.get("labels"), f"alerting.{key}labels", _RESERVED)
        yield from _label_mistakes(part.get("annotations"), f"alerting.{key}annotations", ())


def _label_mistakes(given: Any, where: str, reserved: Sequence[str]) -> Iterator[str]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield f"{where} must be a mapping"
        return
    for key, value in given.items():
        if not isinstance(key, str) or not _LABEL.fullmatch(key) or isinstance(value, (Mapping, list)):
            yield f"{where} must be texts by names of letters, digits and underscores, which {key} is not"
        elif key in reserved:
            yield f"{where} has {key}, which the rules set themselves"


def _unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> Iterator[str]:
    for key in given:
        if key not in known:
            yield f"{where} has no key {key}; there are {', '.join(known)}"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _twice(slos: Sequence[Slo]) -> list[str]:
    keys = [(slo.service, slo.name) for slo in slos]
    return [
        f"Service {service} has the objective {name} twice."
        for service, name in dict.fromkeys(keys)
        if keys.count((service, name)) > 1
    ]
