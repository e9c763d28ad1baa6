# SPDX-License-Identifier: GPL-3.0-or-later
"""A Cluster in memory for unit tests: the same methods, real field ownership and preconditions, no server.

`objects` is the state by (apiVersion, kind, namespace, name); `calls` lists what was asked, as (verb, kind, name),
with the verb in upper case if it was a write that was meant (not a dry run). Lists are atomic for field ownership.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict, Invalid, NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._kinds import Kind, Kinds

Object = dict[str, Any]
Objects = list[Object]
Key = tuple[str, str, str | None, str]
Path = tuple[str, ...]

_IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_UNCOUNTED = ("resourceVersion", "managedFields", "generation", "creationTimestamp", "uid")


class FakeCluster:
    """Holds objects and behaves as the API server does towards one caller."""

    def __init__(self, *objects: Object) -> None:
        self.namespace = "default"
        self.url = "https://fake"
        self.kinds = Kinds(lambda api_version: None)
        self.warnings: list[str] = []
        self.objects: dict[Key, Object] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.log_lines: dict[tuple[str, str | None], str] = {}
        self.proxy_status: Callable[[str, str, str, str], int] = lambda namespace, pod, method, path: 200
        self.refuse: dict[str, Exception] = {}
        self._versions = itertools.count(1)
        for obj in objects:
            self.put(obj)

    # -- what tests do to it ------------------------------------------------------------------------------------

    def put(self, obj: Object) -> Object:
        """Set an object as if someone else had written it."""
        obj = copy.deepcopy(obj)
        self._stamp(obj, self.objects.get(self._key(obj)))
        self.objects[self._key(obj)] = obj
        return obj

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        """The calls that changed, or would have changed, the state."""
        return [call for call in self.calls if call[0].isupper()]

    # -- what the code under test does ----------------------------------------------------------------------------

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        self.calls.append(("get", kind, name))
        return copy.deepcopy(self.objects.get(self._address(api_version, kind, name, namespace)))

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | str | None = None,
        *,
        fields: Mapping[str, str] | str | None = None,
        since: str = "",
    ) -> Objects:
        self.calls.append(("list", kind, namespace or ""))
        self._kind(api_version, kind)
        wanted = _selector(labels).items()
        paths = {tuple(path.split(".")): value for path, value in _selector(fields).items()}
        return [
            copy.deepcopy(obj)
            for (version, its_kind, its_namespace, _), obj in sorted(self.objects.items(), key=str)
            if (version, its_kind) == (api_version, kind)
            and namespace in (None, its_namespace)
            and wanted <= (obj["metadata"].get("labels") or {}).items()
            and all(_value(obj, path) == value for path, value in paths.items())
        ]

    def page(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | str | None = None,
        *,
        fields: Mapping[str, str] | str | None = None,
        token: str = "",
        since: str = "",
    ) -> tuple[Objects, str]:
        return self.list(api_version, kind, namespace, labels, fields=fields), ""

    def apply(self, obj: Object, *, manager: str = "opsforge", force: bool = False, dry_run: bool = False) -> Object:
        self._record("apply", obj, dry_run)
        live = self.objects.get(self._key(obj))
        if live is None:
            self._need_namespace(obj)
        result = copy.deepcopy(live) if live else {k: copy.deepcopy(obj[k]) for k in ("apiVersion", "kind")}
        owners = {entry["manager"]: set(_paths(entry["fieldsV1"])) for entry in _managed(result)}
        wanted = {path: value for path, value in _leaves(obj) if path not in _IDENTITY}
        for other, owned in owners.items():
            clash = [p for p in owned & wanted.keys() if other != manager and _value(result, p) != wanted[p]]
            if clash and not force:
                fields = "; ".join(f"{'.'.join(path)} by {other}" for path in clash)
                name = f"{obj['kind']} {obj['metadata']['name']}"
                raise Conflict(f"cannot write {name}: owned by another manager: {fields}")
            owned -= set(clash)
        for path in owners.get(manager, set()) - wanted.keys():
            if not any(path in owned for other, owned in owners.items() if other != manager):
                _drop(result, path)
        identity = {key: value for key, value in obj["metadata"].items() if key in ("name", "namespace")}
        result.setdefault("metadata", {}).update(identity)
        for path, value in wanted.items():
            _set(result, path, copy.deepcopy(value))
        owners[manager] = set(wanted)
        result["metadata"]["managedFields"] = [_entry(who, owned, obj["apiVersion"]) for who, owned in owners.items()]
        return self._store(result, live, dry_run)

    def create(self, obj: Object, *, manager: str = "opsforge", dry_run: bool = False) -> Object:
        self._record("create", obj, dry_run)
        if self._key(obj) in self.objects:
            raise Conflict(f"cannot write {obj['kind']} {obj['metadata']['name']}: already exists (HTTP 409)")
        self._need_namespace(obj)
        return self._store(copy.deepcopy(obj), None, dry_run)

    def replace(self, obj: Object, *, manager: str = "opsforge", dry_run: bool = False) -> Object:
        self._record("replace", obj, dry_run)
        live = self._live(self._key(obj))
        self._check_version(live, obj["metadata"].get("resourceVersion"))
        return self._store(copy.deepcopy(obj), live, dry_run)

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
        manager: str = "opsforge",
    ) -> Object:
        key = self._address(api_version, kind, name, namespace)
        self._record("patch", {"kind": kind, "metadata": {"name": name}}, dry_run)
        live = self._live(key)
        self._check_version(live, (body.get("metadata") or {}).get("resourceVersion"))
        return self._store(_merge(live, body), live, dry_run)

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
        key = self._address(api_version, kind, name, namespace)
        self._record("delete", {"kind": kind, "metadata": {"name": name}}, dry_run)
        live = self.objects.get(key)
        if live is None:
            return False
        for field, value in (preconditions or {}).items():
            if live["metadata"].get(field) != value:
                raise Conflict(f"cannot delete {kind} {name}: the {field} in the precondition is not the live one")
        if not dry_run:
            del self.objects[key]
        return True

    def logs(
        self, namespace: str, pod: str, container: str | None = None, tail: int = 10, previous: bool = False
    ) -> str:
        self.calls.append(("logs", "Pod", pod))
        lines = self.log_lines.get((pod, container), "").splitlines()
        return "\n".join(lines[-tail:])

    def proxy(
        self, namespace: str, pod: str, port: int | str, method: str = "GET", path: str = "/", timeout: float = 2.0
    ) -> int:
        self.calls.append(("PROXY" if method != "GET" else "proxy", "Pod", pod))
        return self.proxy_status(namespace, pod, method, path)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _record(self, verb: str, obj: Object, dry_run: bool) -> None:
        name = obj["metadata"]["name"]
        self.calls.append((verb if dry_run else verb.upper(), obj["kind"], name))
        if f"{obj['kind']}/{name}" in self.refuse:
            raise self.refuse[f"{obj['kind']}/{name}"]

    def _kind(self, api_version: str, kind: str) -> Kind:
        found = self.kinds.find(api_version, kind)
        if found is None:
            raise NotFound(f"the cluster does not know the kind {kind} of {api_version}")
        return found

    def _address(self, api_version: str, kind: str, name: str, namespace: str | None) -> Key:
        namespaced = self._kind(api_version, kind).namespaced
        return api_version, kind, (namespace or self.namespace) if namespaced else None, name

    def _key(self, obj: Object) -> Key:
        metadata = obj["metadata"]
        return self._address(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))

    def _live(self, key: Key) -> Object:
        if key not in self.objects:
            raise NotFound(f"cannot write {key[1]} {key[3]}: not found (HTTP 404)")
        return self.objects[key]

    def _need_namespace(self, obj: Object) -> None:
        """Namespaces that no test spoke of exist; once one Namespace object is there, the others must be, too."""
        namespace = self._key(obj)[2]
        known = {key[3] for key in self.objects if key[1] == "Namespace"}
        if namespace and known and namespace not in known | {"default"}:
            raise NotFound(f'cannot write {obj["kind"]}: namespaces "{namespace}" not found (HTTP 404)')

    def _check_version(self, live: Object, version: str | None) -> None:
        if version and version != live["metadata"]["resourceVersion"]:
            name = live["metadata"]["name"]
            raise Conflict(f"cannot write {live['kind']} {name}: the object has been modified (HTTP 409)")

    def _store(self, obj: Object, live: Object | None, dry_run: bool) -> Object:
        if not isinstance(obj.get("metadata", {}).get("name"), str):
            raise Invalid("metadata.name: Required value (HTTP 422)")
        if live is None or _counted(obj) != _counted(live):
            self._stamp(obj, live)
        else:
            obj = copy.deepcopy(live)
        if not dry_run:
            self.objects[self._key(obj)] = obj
            if obj["kind"] == "CustomResourceDefinition":
                self.kinds.learn(obj)
        return copy.deepcopy(obj)

    def _stamp(self, obj: Object, live: Object | None) -> None:
        metadata = obj["metadata"]
        if self._kind(obj["apiVersion"], obj["kind"]).namespaced:
            metadata.setdefault("namespace", self.namespace)
        version = next(self._versions)
        metadata["resourceVersion"] = str(version)
        metadata.setdefault("uid", f"uid-{version}")
        before = (live or {}).get("metadata", {}).get("generation", 0)
        same_spec = live is not None and obj.get("spec") == live.get("spec")
        metadata.setdefault("generation", before if same_spec else before + 1)
        if live is not None and not same_spec:
            metadata["generation"] = before + 1


def _counted(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _UNCOUNTED}
    owners = sorted(str(entry) for entry in _managed(obj))
    return {**obj, "metadata": metadata, "owners": owners}


def _selector(wanted: Mapping[str, str] | str | None) -> Mapping[str, str]:
    if isinstance(wanted, str):
        return dict(part.split("=", 1) for part in wanted.split(",") if part)
    return wanted or {}


def _managed(obj: Object) -> Objects:
    found: Objects = obj.get("metadata", {}).get("managedFields") or []
    return found


def _leaves(obj: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(obj, dict) and obj:
        for key, value in obj.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, obj


def _paths(fields: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, below in fields.items():
        inner = (*path, key.removeprefix("f:"))
        if below:
            yield from _paths(below, inner)
        else:
            yield inner


def _entry(manager: str, owned: set[Path], api_version: str) -> Object:
    fields: Object = {}
    for path in sorted(owned):
        _set(fields, tuple(f"f:{part}" for part in path), {})
    return {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _value(obj: Any, path: Path) -> Any:
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _set(obj: Object, path: Path, value: Any) -> None:
    for part in path[:-1]:
        obj = obj.setdefault(part, {})
    obj[path[-1]] = value


def _drop(obj: Object, path: Path) -> None:
    for part in path[:-1]:
        obj = obj.get(part, {})
    obj.pop(path[-1], None)


def _merge(target: Any, body: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(body, dict):
        return copy.deepcopy(body)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in body.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result
