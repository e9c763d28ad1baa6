# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Prometheus for numbers. Whatever answers in its place is not trusted: bounded, checked, and never followed."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer, Pool
from ansible_collections.opsforge.platform.plugins.module_utils._kubeconfig import Endpoint
from ansible_collections.opsforge.platform.plugins.module_utils._mask import mask_text

LIMIT = 1 << 20  # bytes; one number takes a hundred
_SHOWN = 200  # characters of what somebody else says


def server_args(name: str, namespace: str, port: int) -> dict[str, dict[str, Any]]:
    """The argument spec of the options, beginning with `name`, that say where such a server is asked."""
    return {
        f"{name}_url": {"type": "str"},
        f"{name}_token": {"type": "str", "no_log": True},
        f"{name}_ca": {"type": "path"},
        f"{name}_namespace": {"type": "str", "default": namespace},
        f"{name}_service": {"type": "str", "default": name},
        f"{name}_port": {"type": "int", "default": port},
        f"{name}_timeout": {"type": "float", "default": 10.0},
    }


PROMETHEUS_ARGS = server_args("prometheus", "monitoring", 9090)
# What a module that was told nothing asks with.
PROMETHEUS_DEFAULTS = {name: spec.get("default") for name, spec in PROMETHEUS_ARGS.items()}


@dataclass(frozen=True)
class Prometheus:
    """One server of the Prometheus HTTP API. Safe to share between threads."""

    where: str
    # GETs a path; raises Unreachable.
    fetch: Callable[[str], Answer]
    # Seconds that Prometheus itself may spend on a query.
    timeout: float = 10.0
    # Its name. Loki has the same API below a path of its own, and says in plain text what is wrong with a query.
    title: str = "Prometheus"

    @classmethod
    def of(
        cls, params: Mapping[str, Any], cluster: Cluster, *, limit: int = LIMIT, title: str = "Prometheus"
    ) -> Prometheus:
        """By the URL in a module's PROMETHEUS_ARGS, else through the API server. Raises Invalid.

        :param limit: bytes that one answer may have.
        :param title: `Loki` for the options that begin with `loki_`.
        """
        key = title.lower()
        timeout = params[f"{key}_timeout"]
        if not 0 < timeout < math.inf:
            raise Invalid(f"{key}_timeout must be a number of seconds above 0, not {timeout:g}")
        if params[f"{key}_url"]:
            pool = Pool(_endpoint(params, key), title=title)
            return cls(
                f"{title} {pool.endpoint.url}",
                lambda path: pool.fetch(path, limit=limit, timeout=timeout),
                timeout,
                title,
            )
        if params[f"{key}_token"] or params[f"{key}_ca"]:
            raise Invalid(f"{key}_token and {key}_ca need {key}_url: the API server has its own log-in")
        namespace, service, port = (params[f"{key}_{part}"] for part in ("namespace", "service", "port"))
        return cls(
            f"{title} (Service {namespace}/{service}:{port})",
            lambda path: cluster.fetch(namespace, service, port, path, limit=limit, timeout=timeout),
            timeout,
            title,
        )

    def ask(self, query: str, time: float | None = None) -> float | None:
        """The number that the query has at this time (seconds since the epoch), None where it has none.

        NaN and infinities are numbers. Raises Unreachable, and Invalid for a query that is wrong or has several.
        """
        # A number without a unit may be a part of a second; one with a unit may not.
        wanted = {"query": query, "timeout": f"{self.timeout:g}", **({} if time is None else {"time": f"{time:.3f}"})}
        data = self.data(f"/api/v1/query?{urlencode(wanted)}", query)
        try:
            return _number(query, data)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise self.strange() from error

    def data(self, path: str, query: str = "") -> Any:
        """What the server says to a path of its API. Raises Unreachable, and Invalid for a query that is wrong."""
        return self.answer(path, query)["data"]

    def answer(self, path: str, query: str = "") -> Mapping[str, Any]:
        """The same with what the server says beside its `data`, such as `warnings`."""
        answer = self.fetch(path)
        content = _content(answer.body)
        if answer.status in (400, 422) and "errorType" in content:
            raise Invalid(f"{self.title} refuses the query {query}: {_said(content.get('error'))}")
        if answer.status == 400 and self.title == "Loki" and not content:
            raise Invalid(f"{self.title} refuses the query {query}: {_said(answer.body.decode(errors='replace'))}")
        if answer.status != 200:
            said = content.get("error") or content.get("message") or ""
            raise Unreachable(f"{self.where} answers with HTTP {answer.status}" + (f": {_said(said)}" if said else ""))
        if content.get("status") not in ("success", None):
            raise Unreachable(f"{self.where} answers with an error: {_said(content.get('error'))}")
        if "status" not in content or "data" not in content:
            raise self.strange()
        return content

    def strange(self) -> Unreachable:
        """The error for something that answers, and is not what it should be."""
        return Unreachable(f"{self.where} does not answer as {self.title} does")


def _endpoint(params: Mapping[str, Any], key: str) -> Endpoint:
    url, token = params[f"{key}_url"], params[f"{key}_token"] or ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid(f"{key}_url must be an address such as https://{key}.example.org:9090")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Invalid(f"{key}_url must have no user, password, query or fragment: a log-in goes to {key}_token")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Invalid(f"{key}_token holds characters that a token cannot have")
    try:
        tls = ssl.create_default_context(cafile=params[f"{key}_ca"]) if parts.scheme == "https" else None
    except OSError as error:
        raise Invalid(f"{key}_ca {params[f'{key}_ca']} is not a readable certificate ({error})") from error
    return Endpoint(url.rstrip("/"), tls, headers={"Authorization": f"Bearer {token}"} if token else {})


def _content(body: bytes) -> dict[str, Any]:
    """The answer's JSON object, an empty one for anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _number(query: str, data: Mapping[str, Any]) -> float | None:
    kind, result = data["resultType"], data["result"]
    if not isinstance(result, list):
        raise TypeError
    if kind == "scalar":
        return float(result[1])
    if kind != "vector":
        raise Invalid(f"the query {query} answers with a {_said(kind)}, and one number is needed")
    if len(result) > 1:
        raise Invalid(f"the query {query} answers with {len(result)} series, and one is needed: aggregate, as by sum()")
    if not result:
        return None
    if "value" not in result[0]:
        raise Invalid(f"the query {query} answers with a histogram, and one number is needed")
    return float(result[0]["value"][1])


def _said(text: Any) -> str:
    """What somebody else says, short, on one line, and without secrets."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text)[:_SHOWN])
    return mask_text(line).strip() or "no reason given"
