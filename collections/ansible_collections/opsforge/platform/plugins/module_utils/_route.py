# SPDX-License-Identifier: GPL-3.0-or-later
"""How the HTTPRoute of a service divides its traffic between the slot in use and a canary. Pure.

The first rule is the site's; its backends are the Service and, for a canary, the preview. Whoever has to stay where
they got needs more rules, which carry our names: they match everybody before the first rule does, and give a cookie.

A gateway takes the backends of rules that go away sooner than the rules, and would lose the requests in between. So
these rules are brought and taken away asleep, when they match nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._slots import preview

Object = dict[str, Any]
Rules = list[Object]

API_VERSION, KIND = "gateway.networking.k8s.io/v1", "HTTPRoute"
NEW, ON_CANARY, ON_STABLE = "canary", "stays-on-canary", "stays-off-canary"
# Each request has a host, so such a rule comes before the site's; no request has that one.
_AWAKE = {"type": "RegularExpression", "name": "Host", "value": ".+"}
_ASLEEP = {"type": "Exact", "name": "Host", "value": "asleep.invalid"}


@dataclass(frozen=True)
class Split:
    """What a route says: the canary's share in percent, and whether people stay where they got."""

    weight: int = 0
    sticky: bool = False
    # Rules that match nobody are there: a run was killed, or is at work.
    asleep: bool = False


@dataclass(frozen=True)
class Cookie:
    """What tells somebody's slot and version; lives so many seconds after the last answer."""

    canary: str
    stable: str
    seconds: int = 3600


def split(rules: Rules, service: str) -> Split:
    """Read a route's rules. Raises Invalid for rules or backends that neither the site nor a canary writes."""
    ours = {NEW, ON_CANARY, ON_STABLE}
    if not rules or {rule.get("name") for rule in rules[1:]} not in (set(), ours) or len(rules) not in (1, 4):
        raise Invalid(f"HTTPRoute {service} has rules that are not ours ({len(rules)}): nothing was written")
    for backend in (backend for rule in rules for backend in rule.get("backendRefs") or [{}]):
        known = (
            backend.get("kind", "Service") == "Service" and not backend.get("group") and not backend.get("namespace")
        )
        if not known or backend.get("name") not in (service, preview(service)):
            shown = f"{backend.get('kind', 'Service')} {backend['name']}" if backend else "no backend"
            raise Invalid(f"HTTPRoute {service} sends requests to {shown}, which is not ours: nothing was written")
    new = _named(rules).get(NEW)
    if new and _is_awake(new):
        return Split(_share(new, service), sticky=True)
    return Split(_share(rules[0], service), asleep=bool(new))


def weight(route: Mapping[str, Any] | None) -> int:
    """The share of a live HTTPRoute that goes to a canary, in percent; 0 for one that is not ours, and for none."""
    try:
        return split(route["spec"].get("rules") or [], route["metadata"]["name"]).weight if route else 0
    except Invalid:
        return 0


def is_plain(rules: Rules, service: str) -> bool:
    """Whether the rules are what the site writes."""
    return len(rules) == 1 and all(backend["name"] == service for backend in rules[0]["backendRefs"])


def shared(rule: Object, service: str, percent: int) -> Object:
    """The site's rule, with this share of it for the canary; with 0 as the site wrote it."""
    backend = next(iter(rule["backendRefs"]))
    stable = {**backend, "name": service, "weight": 100 - percent}
    if not percent:
        return {**rule, "backendRefs": [{**stable, "weight": 1}]}
    return {**rule, "backendRefs": [stable, {**backend, "name": preview(service), "weight": percent}]}


def staying(rule: Object, service: str, percent: int, cookie: Cookie) -> Rules:
    """Our rules, awake: newcomers are divided, others stay; with 100 percent the canary is for everybody."""
    backend = next(iter(rule["backendRefs"]))
    name = f"{service}-slot"
    paths = {(match.get("path") or {}).get("value") for match in rule.get("matches") or []}
    tail = f"Path={paths.pop() if len(paths) == 1 else '/'}; Max-Age={cookie.seconds}; HttpOnly; SameSite=Lax"

    def to(target: str, value: str, share: int) -> Object:
        given = {"add": [{"name": "Set-Cookie", "value": f"{name}={value}; {tail}"}]}
        filters = [{"type": "ResponseHeaderModifier", "responseHeaderModifier": given}]
        return {**backend, "name": target, "weight": share, "filters": filters}

    def carrying(value: str) -> Object:
        pattern = rf"(.*; ?)?{re.escape(f'{name}={value}')}(;.*)?"
        return {"type": "RegularExpression", "name": "Cookie", "value": pattern}

    def make(title: str, headers: Rules, backends: Rules) -> Object:
        matches = [
            {**match, "headers": [*(match.get("headers") or []), _AWAKE, *headers]}
            for match in rule.get("matches") or [{}]
        ]
        return {**rule, "name": title, "matches": matches, "backendRefs": backends}

    canary = preview(service), cookie.canary
    # Each backend keeps its place whatever the weight: a gateway names what it keeps of them by their places.
    stable = (service, cookie.stable) if percent < 100 else canary
    shares = (100 - percent, percent) if percent < 100 else (1, 99)
    return [
        make(NEW, [], [to(*stable, shares[0]), to(*canary, shares[1])]),
        make(ON_CANARY, [carrying(cookie.canary)], [to(*canary, 1)]),
        make(ON_STABLE, [carrying(cookie.stable)], [to(*stable, 1)]),
    ]


def asleep(rules: Iterable[Object]) -> Rules:
    """These rules of ours, matching nobody."""
    return [{**rule, "matches": [_sleeping(match) for match in rule["matches"]]} for rule in rules]


def pods_for(percent: int, replicas: int) -> int:
    """How many pods carry that share of what so many carry now."""
    return math.ceil(replicas * percent / 100)


def pods_beside(percent: int, replicas: int) -> int:
    """How many pods beside so many get about that share of what is spread over all of them; at least one."""
    return max(1, round(replicas * percent / (100 - percent)))


def _sleeping(match: Object) -> Object:
    return {**match, "headers": [_ASLEEP if header == _AWAKE else header for header in match["headers"]]}


def _named(rules: Rules) -> dict[str, Object]:
    return {rule["name"]: rule for rule in rules[1:]}


def _is_awake(rule: Object) -> bool:
    return any(header == _AWAKE for match in rule["matches"] for header in match["headers"])


def _share(rule: Mapping[str, Any], service: str) -> int:
    """The share of the rule's requests that goes to the canary, in percent."""
    weights = [(backend["name"] == preview(service), backend.get("weight", 1)) for backend in rule["backendRefs"]]
    total = sum(weight for _, weight in weights)
    return round(100 * sum(weight for is_canary, weight in weights if is_canary) / total) if total else 0
