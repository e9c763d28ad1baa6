# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes API as verbs on plain dicts; answers other than success become the errors of L(_errors)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http.client import HTTPMessage
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PlatformError,
    Unreachable,
)
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer, Pool
from ansible_collections.opsforge.platform.plugins.module_utils._kinds import Kind, Kinds
from ansible_collections.opsforge.platform.plugins.module_utils._kubeconfig import Endpoint, load_endpoint

Object = dict[str, Any]
Objects = list[Object]
Selector = Mapping[str, str] | str | None

MANAGER = "opsforge"
_PAGE = 500
_NOT_IN_SCHEMA = "failed to create typed patch object"  # the server calls an unknown field its own error, 500
_ERRORS: dict[int, type[PlatformError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: NotFound,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Unreachable,
}


def connect(params: Mapping[str, Any], *, check_mode: bool = False) -> Cluster:
    """Make a Cluster from a module's CONNECTION_ARGS; no request is sent yet. Raises NotFound or Invalid.

    In check mode a kubeconfig that does not exist stands for a cluster that an earlier task would make: an empty one.
    """
    try:
        return Cluster(Pool(load_endpoint(params.get("kubeconfig"), params.get("context"))))
    except NotFound as error:
        if not check_mode:
            raise
        cluster = Cluster(_Nothing(Endpoint("https://not-there-yet", tls=None)))
        cluster.warnings.append(f"{error}: in check mode the cluster counts as empty")
        return cluster


class _Nothing(Pool):
    """A server that has nothing."""

    def request(self, *_: Any, **__: Any) -> Answer:
        return Answer(404, HTTPMessage(), b"{}")

    fetch = request


class Cluster:
    """One cluster as one caller sees it. Safe to share between threads.

    Every method raises Forbidden, Unreachable, Invalid (the server refuses the content) or NotFound (the kind or the
    namespace does not exist) and what its own text adds. A namespace that is not given is the context's own.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.namespace = pool.endpoint.namespace
        self.url = pool.endpoint.url
        self.kinds = Kinds(self._discover)
        self.warnings: list[str] = []

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the object, None if it or its namespace does not exist."""
        answer = self._pool.request("GET", self._path(api_version, kind, name, namespace))
        return None if answer.status == 404 else self._object(answer, f"read {kind} {name}")

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Selector = None,
        *,
        fields: Selector = None,
        since: str = "",
    ) -> Objects:
        """Return all objects of a kind, in one namespace or (None) in all, with these labels and fields.

        :param since: a `resourceVersion` that the answer must not be older than; empty for the newest. The server has
            such an answer at hand, where it waits up to 0.1 s to be sure that one is the newest.
        """
        found: Objects = []
        token = ""
        while True:
            page, token = self.page(api_version, kind, namespace, labels, fields=fields, token=token, since=since)
            found += page
            if not token:
                return found

    def page(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Selector = None,
        *,
        fields: Selector = None,
        token: str = "",
        since: str = "",
    ) -> tuple[Objects, str]:
        """Return up to 500 objects and the token of the next page, empty after the last one; `since` as in list."""
        wanted = {
            "limit": str(_PAGE),
            "labelSelector": _selector(labels),
            "fieldSelector": _selector(fields),
            "continue": token,
            # A later page is of the same moment as the first one, and may not name another.
            "resourceVersion": "" if token else since,
            "resourceVersionMatch": "NotOlderThan" if since and not token else "",
        }
        query = {key: value for key, value in wanted.items() if value}
        path = self._kind(api_version, kind).path(namespace)
        answer = self._object(self._pool.request("GET", f"{path}?{urlencode(query)}"), f"list {kind}")
        items = [{**item, "apiVersion": api_version, "kind": kind} for item in answer.get("items") or []]
        return items, (answer.get("metadata") or {}).get("continue") or ""

    def apply(self, obj: Object, *, manager: str = MANAGER, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply: make the fields in obj so, return the whole object. Raises Conflict naming owners."""
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self._write("PATCH", obj, query, dry_run, "application/apply-patch+yaml", repeatable=True)

    def create(self, obj: Object, *, manager: str = MANAGER, dry_run: bool = False) -> Object:
        """Create the object. Raises Conflict if it exists."""
        return self._write("POST", obj, {"fieldManager": manager, "fieldValidation": "Strict"}, dry_run)

    def replace(self, obj: Object, *, manager: str = MANAGER, dry_run: bool = False) -> Object:
        """Replace the object. Raises Conflict if `metadata.resourceVersion` is given and no longer the live one."""
        return self._write("PUT", obj, {"fieldManager": manager, "fieldValidation": "Strict"}, dry_run)

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None,
        body: Object,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        manager: str = MANAGER,
    ) -> Object:
        """Merge-patch the object or one of its subresources.

        Raises NotFound, and Conflict if the body carries a `metadata.resourceVersion` that is no longer the live one.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        path = self._path(api_version, kind, name, namespace, subresource)
        return self._send("PATCH", path, body, query, dry_run, f"patch {kind} {name}", "application/merge-patch+json")

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        preconditions: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> bool:
        """Ask for the deletion of the object and, in the background, of what it owns; tell whether it existed.

        :param preconditions: `uid` and `resourceVersion` the live object must have, else Conflict.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if preconditions:
            body["preconditions"] = dict(preconditions)
        if dry_run:
            body["dryRun"] = ["All"]  # the server does not look at the query when there is a body
        try:
            path = self._path(api_version, kind, name, namespace)
            self._send("DELETE", path, body, {}, False, f"delete {kind} {name}")
        except NotFound:
            return False
        return True

    def logs(
        self, namespace: str, pod: str, container: str | None = None, tail: int = 10, previous: bool = False
    ) -> str:
        """Return the last lines that a container wrote, of its run before the current one if previous."""
        query = {"tailLines": str(tail), "previous": str(previous).lower()}
        if container:
            query["container"] = container
        path = self._path("v1", "Pod", pod, namespace, "log")
        answer = self._pool.request("GET", f"{path}?{urlencode(query)}")
        if answer.status != 200:
            raise _error(answer, f"read the log of Pod {pod}")
        return answer.body.decode(errors="replace")

    def proxy(
        self, namespace: str, pod: str, port: int | str, method: str = "GET", path: str = "/", timeout: float = 2.0
    ) -> int:
        """Send one HTTP request to a pod through the API server and return the status code (503: nobody answered).

        :param timeout: seconds to wait for the answer; Unreachable after that.
        """
        base = self._path("v1", "Pod", f"{pod}:{port}", namespace, "proxy")
        return self._pool.request(method, base + path, timeout=timeout, repeatable=False).status

    def fetch(
        self,
        namespace: str,
        name: str,
        port: int | str,
        path: str,
        *,
        limit: int,
        timeout: float,
        kind: str = "Service",
    ) -> Answer:
        """GET from a Service, or from what else of `kind` has a proxy, through the API server.

        The answer is theirs or, if nobody is there, a Status of the API server.

        :param limit: bytes of the answer at the most.
        :param timeout: seconds at the most.
        """
        base = self._path("v1", kind, f"{name}:{port}", namespace, "proxy")
        return self._pool.fetch(base + path, limit=limit, timeout=timeout)

    def _write(
        self,
        method: str,
        obj: Object,
        query: Mapping[str, str],
        dry_run: bool,
        content_type: str = "application/json",
        repeatable: bool = False,
    ) -> Object:
        metadata = obj["metadata"]
        name = None if method == "POST" else metadata["name"]
        path = self._path(obj["apiVersion"], obj["kind"], name, metadata.get("namespace"))
        doing = f"write {obj['kind']} {metadata.get('name', '')}"
        return self._send(method, path, obj, query, dry_run, doing, content_type, repeatable)

    def _send(
        self,
        method: str,
        path: str,
        body: Object,
        query: Mapping[str, str],
        dry_run: bool,
        doing: str,
        content_type: str = "application/json",
        repeatable: bool = False,
    ) -> Object:
        if dry_run:
            query = {**query, "dryRun": "All"}
        url = f"{path}?{urlencode(query)}" if query else path
        headers = {"Content-Type": content_type}
        answer = self._pool.request(method, url, json.dumps(body).encode(), headers, repeatable=repeatable)
        for text in answer.headers.get_all("Warning") or []:
            self._warn(text)
        return self._object(answer, doing)

    def _warn(self, header: str) -> None:
        text = header.partition('"')[2].rpartition('"')[0].replace('\\"', '"')
        if text and text not in self.warnings:
            self.warnings.append(text)

    def _object(self, answer: Answer, doing: str) -> Object:
        if not 200 <= answer.status < 300:
            raise _error(answer, doing)
        try:
            content: Object = json.loads(answer.body)
        except ValueError as error:
            raise Unreachable(f"{self.url} does not answer as a Kubernetes API server") from error
        return content

    def _kind(self, api_version: str, kind: str) -> Kind:
        found = self.kinds.find(api_version, kind)
        if found is None:
            raise NotFound(f"the cluster does not know the kind {kind} of {api_version}")
        return found

    def _path(
        self, api_version: str, kind: str, name: str | None, namespace: str | None, subresource: str | None = None
    ) -> str:
        found = self._kind(api_version, kind)
        return found.path(namespace or self.namespace, quote(name, safe=":") if name else None, subresource)

    def _discover(self, api_version: str) -> Objects | None:
        answer = self._pool.request("GET", f"{'/apis' if '/' in api_version else '/api'}/{api_version}")
        if answer.status == 404:
            return None
        resources: Objects = self._object(answer, f"read the kinds of {api_version}")["resources"]
        return resources


def _selector(wanted: Selector) -> str:
    return wanted if isinstance(wanted, str) else ",".join(f"{key}={value}" for key, value in (wanted or {}).items())


def _error(answer: Answer, doing: str) -> PlatformError:
    """Turn the server's Status into the error of the tree and one sentence."""
    try:
        status = json.loads(answer.body)
        message = status.get("message") or status.get("reason") or ""
        causes = (status.get("details") or {}).get("causes") or []
    except (ValueError, AttributeError):
        message, causes = answer.body[:200].decode(errors="replace").strip(), []
    if answer.status == 401:
        message = "the API server does not accept the credentials"
    owners = list(_owners(causes))
    if owners:
        message = f"owned by another manager: {'; '.join(owners)}"
    kind = _ERRORS.get(answer.status, Unreachable)
    if message.startswith(_NOT_IN_SCHEMA):
        kind, message = Invalid, message.rpartition("): ")[2]
    return kind(f"cannot {doing}: {message or 'no reason given'} (HTTP {answer.status})")


def _owners(causes: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Name the field and its owner for each cause of a field manager conflict."""
    for cause in causes:
        if cause.get("reason") == "FieldManagerConflict":
            owner = str(cause.get("message", "")).removeprefix("conflict with ").replace('"', "")
            yield f"{str(cause.get('field', '')).lstrip('.')} by {owner}"
