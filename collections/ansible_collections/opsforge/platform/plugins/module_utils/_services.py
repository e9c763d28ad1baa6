# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of an inventory: what an entry may say, and what is wrong with one, found before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Grafana takes 40 characters for the address of a dashboard: `service-` and the name, by which alerts link to it.
NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
VERSION = re.compile(r"[0-9A-Za-z]([0-9A-Za-z._-]{0,61}[0-9A-Za-z])?")
PATH = re.compile(r"(/[a-z0-9-]+)*")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
KEY_PATTERN = re.compile(r"[a-z][a-z0-9:_-]*\*?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|Ki|Mi|Gi)?")

STRATEGIES = ("blue_green", "worker")
SIZE = ("cpu", "memory", "cpu_limit", "memory_limit")
SLO = ("availability_percent", "latency_seconds", "latency_percent")

Accepts = Callable[[Any], bool]


def _is_text(pattern: re.Pattern[str]) -> Accepts:
    return lambda value: isinstance(value, str) and bool(pattern.fullmatch(value))


def _is_number(least: float, most: float = float("inf"), *, whole: bool = False) -> Accepts:
    kinds = int if whole else (int, float)
    return lambda value: isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most


def _is_list(accepts: Accepts) -> Accepts:
    return lambda value: isinstance(value, list) and all(accepts(item) for item in value)


def _is_mapping(accepts_key: Accepts) -> Accepts:
    return lambda value: isinstance(value, Mapping) and all(accepts_key(key) for key in value)


def _is_size(value: Any) -> bool:
    return _is_mapping(SIZE.__contains__)(value) and all(_is_text(QUANTITY)(part) for part in value.values())


def _is_slo(value: Any) -> bool:
    """All or nothing: an objective without its number is none."""
    if not isinstance(value, Mapping) or set(value) != set(SLO):
        return False
    percents = [value["availability_percent"], value["latency_percent"]]
    return _is_number(0.001, 600)(value["latency_seconds"]) and all(_is_number(50, 99.999)(part) for part in percents)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_anything(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_IS_NAME, _IS_COUNT, _IS_PORT = _is_text(NAME), _is_number(1, 1000, whole=True), _is_number(1, 65535, whole=True)

# What an entry may say: whether a value will do, and the words for what would.
KEYS: dict[str, tuple[Accepts, str]] = {
    "version": (_is_text(VERSION), "a version like 1.2.3, of letters, digits, dots and dashes, 63 at most, in quotes"),
    "image": (_is_anything, "the name of an image without a tag"),
    "sources": (_IS_NAME, "the name of a folder of services/"),
    "args": (_is_list(_is_anything), "a list of arguments"),
    "path": (_is_text(PATH), "a path like /auth, or empty"),
    "gateway": (_is_text(re.compile(r"[a-z0-9-]+/[a-z0-9-]+")), "namespace/name of a Gateway"),
    "port": (_IS_PORT, "a port"),
    "management_port": (_IS_PORT, "a port"),
    "strategy": (STRATEGIES.__contains__, f"one of {', '.join(STRATEGIES)}"),
    "database": (_is_flag, "true or false"),
    "database_of": (_IS_NAME, "the name of a service that has a database"),
    "redis": (_is_list(_is_text(KEY_PATTERN)), "a list of the keys it may touch, like catalog:*"),
    "calls": (_is_list(_IS_NAME), "a list of services"),
    "internal_key": (_is_flag, "true or false"),
    "env": (_is_mapping(_is_text(VARIABLE)), "environment variables by name"),
    "secrets": (_is_mapping(_is_text(VARIABLE)), "environment variables by name"),
    "generated_secrets": (_is_list(_is_text(VARIABLE)), "a list of names of environment variables"),
    "size": (_is_size, f"quantities like 100m or 128Mi, in quotes, for {', '.join(SIZE)}"),
    "replicas_min": (_IS_COUNT, "a whole number from 1 to 1000"),
    "replicas_max": (_IS_COUNT, "a whole number from 1 to 1000"),
    "cpu_target_percent": (_is_number(1, 1000, whole=True), "a whole number of percent"),
    "requests_per_second": (_is_number(0), "a number, 0 or larger"),
    "queue_age_seconds": (_is_number(0), "a number, 0 or larger"),
    "scale_up_seconds": (_is_number(0, 3600, whole=True), "a whole number of seconds, an hour at most"),
    "scale_down_seconds": (_is_number(0, 3600, whole=True), "a whole number of seconds, an hour at most"),
    "approval": (_is_flag, "true or false"),
    "canary": (
        _is_list(_is_number(1, 99, whole=True)),
        "a list of shares in whole percent, from 1 to 99",
    ),
    "canary_sticky": (_is_flag, "true or false"),
    "gate": (_is_flag, "true or false"),
    "gate_conditions": (_is_list(lambda value: isinstance(value, Mapping)), "a list of conditions"),
    "gate_seconds": (_is_number(0, 86400, whole=True), "a whole number of seconds, a day at most"),
    "keep_seconds": (_is_number(0), "a number of seconds, 0 or larger"),
    "slo": (
        _is_slo,
        "all of availability_percent and latency_percent (50 to 99.999) and latency_seconds (0.001 to 600)",
    ),
}
# What stands where an entry says nothing, as far as entries are compared with each other here.
_REPLICAS_MIN, _REPLICAS_MAX = 2, 4


def complaints(services: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each mistake in the services of an inventory, none if they can work."""
    return [
        f"Service {name}: {mistake}."
        for name, entry in services.items()
        for mistake in _mistakes(services, entry, name)
    ]


def order(services: Mapping[str, Any], chosen: Iterable[str]) -> list[str]:
    """The chosen services, each behind what it calls and behind the owner of its database, however indirectly.

    Services that call each other in a circle, and those that have nothing to do with each other, come as the inventory
    has them.
    """
    found: dict[str, None] = {}
    path: set[str] = set()

    def visit(name: str) -> None:
        if name in found or name in path or name not in services:
            return
        path.add(name)
        entry = services[name]
        for needed in (*entry.get("calls", ()), entry.get("database_of")):
            if needed is not None:
                visit(needed)
        found[name] = None

    for name in services:
        visit(name)
    wanted = set(chosen)
    return [name for name in found if name in wanted]


def _mistakes(services: Mapping[str, Any], entry: Any, name: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield "a name is small letters, digits and dashes, 32 at most, so that a dashboard can bear it"
    if not isinstance(entry, Mapping):
        yield "its entry must be a mapping"
        return
    for key, value in entry.items():
        if key not in KEYS:
            yield f"there is no key {key}; there are {', '.join(sorted(KEYS))}"
        elif not KEYS[key][0](value):
            # A secret's value must not end up in a log.
            shown = "" if "secret" in key else f" and not {value!r}"
            yield f"{key} must be {KEYS[key][1]}{shown}"
    if "version" not in entry:
        yield "it needs a version"
    yield from _contradictions(services, entry, name)


def _contradictions(services: Mapping[str, Any], entry: Mapping[str, Any], name: str) -> Iterator[str]:
    """What is wrong with an entry beside others, or with two keys beside each other."""
    least, most = entry.get("replicas_min", _REPLICAS_MIN), entry.get("replicas_max", _REPLICAS_MAX)
    if _IS_COUNT(least) and _IS_COUNT(most) and least > most:
        yield f"it has at least {least} replicas and at most {most}"
    if entry.get("strategy") == "worker" and entry.get("path"):
        yield "a worker answers nobody, so it has no path"
    calls = entry.get("calls")
    for callee in calls if isinstance(calls, list) else []:
        if callee == name:
            yield "it needs no edge to call itself"
        elif callee not in services:
            yield f"it calls {callee}, which is no service here; there are {', '.join(sorted(services))}"
        elif isinstance(services[callee], Mapping) and services[callee].get("strategy") == "worker":
            yield f"it calls {callee}, a worker, which answers nobody"
    owner = entry.get("database_of")
    if owner is not None:
        if entry.get("database"):
            yield "it has a database of its own, or that of another service, and not both"
        found = services.get(owner)
        if not isinstance(found, Mapping) or not found.get("database"):
            yield f"it uses the database of {owner}, which has none"
