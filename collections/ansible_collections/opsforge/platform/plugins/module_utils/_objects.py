# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a person wrote to a checked list of objects, before anything is asked of a cluster."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._kinds import Kinds

Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def identity(obj: Object) -> str:
    """Name an object as messages do: `Kind namespace/name`."""
    metadata = obj["metadata"]
    return f"{obj['kind']} {metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else short(obj)


def short(obj: Object) -> str:
    """Name an object without its namespace."""
    return f"{obj['kind']} {obj['metadata']['name']}"


def key(obj: Object) -> tuple[str, str, str, str]:
    """Return what makes an object one of its cluster: API group, kind, namespace, name."""
    metadata = obj["metadata"]
    return obj["apiVersion"].rpartition("/")[0], obj["kind"], metadata.get("namespace") or "", metadata["name"]


def parse(written: Iterable[Any], files: Iterable[str] = ()) -> list[Object]:
    """Return all objects in dicts, YAML texts and files, with Lists unpacked and `stringData` folded into `data`.

    Raises Invalid for anything that is not an object with apiVersion, kind and a name; NotFound for a missing file.
    """
    objects = []
    for place, document in _documents(written, files):
        for obj in _unpack(document, place):
            _check(obj, place)
            objects.append(_fold_string_data(copy.deepcopy(obj)))
    return objects


def settle(objects: list[Object], kinds: Kinds, namespace: str) -> list[Object]:
    """Give every object its namespace and check what needs to know the kinds; definitions in the set count as known.

    A kind that nobody knows keeps the namespace it came with. Raises Invalid for an object given twice, and for a
    namespace on an object that has none.
    """
    for obj in objects:
        if obj["kind"] == "CustomResourceDefinition":
            kinds.learn(obj)
    seen: set[tuple[str, str, str, str]] = set()
    for obj in objects:
        kind, metadata = kinds.find(obj["apiVersion"], obj["kind"]), obj["metadata"]
        if kind and kind.namespaced:
            metadata["namespace"] = metadata.get("namespace") or namespace
        elif kind and metadata.get("namespace"):
            raise Invalid(f"{short(obj)} belongs to the whole cluster: remove its namespace {metadata['namespace']}")
        if key(obj) in seen:
            raise Invalid(f"{identity(obj)} is given twice")
        seen.add(key(obj))
    return objects


def _documents(written: Iterable[Any], files: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for number, item in enumerate(written, start=1):
        if isinstance(item, str):
            yield from _load(item, f"item {number} of objects")
        else:
            yield f"item {number} of objects", item
    for name in files:
        for path in _manifests(Path(name)):
            yield from _load(path.read_text(encoding="utf-8"), str(path))


def _manifests(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (".yml", ".yaml", ".json"))
    if not path.is_file():
        raise NotFound(f"the manifest {path} does not exist")
    return [path]


def _load(text: str, place: str) -> Iterator[tuple[str, Any]]:
    try:
        documents = list(yaml.load_all(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise Invalid(f"{place} is not valid YAML{line}: {getattr(error, 'problem', None) or 'unreadable'}") from error
    for document in documents:
        if document is not None:
            yield place, document


def _unpack(document: Any, place: str) -> Iterator[Any]:
    if isinstance(document, dict) and document.get("kind") == "List":
        yield from document.get("items") or []
    elif isinstance(document, list):
        raise Invalid(f"{place} is a list, not an object")
    else:
        yield document


def _check(obj: Any, place: str) -> None:
    if not isinstance(obj, dict):
        raise Invalid(f"{place} is not an object but {type(obj).__name__}")
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            raise Invalid(f"{place} has no {field}")
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise Invalid(f"{place}: {obj['kind']} has no metadata.name")
    if obj["kind"] == "CustomResourceDefinition":
        _check_definition(obj, place)


def _check_definition(obj: Object, place: str) -> None:
    spec = obj.get("spec")
    needed = ("group", "names", "scope", "versions")
    if not isinstance(spec, dict) or not all(spec.get(field) for field in needed):
        raise Invalid(f"{place}: {short(obj)} needs spec.{', spec.'.join(needed)}")


def _fold_string_data(obj: Object) -> Object:
    """The server stores `stringData` as `data`; only so can the next run see that nothing changed."""
    if obj["kind"] == "Secret" and obj["apiVersion"] == "v1" and isinstance(obj.get("stringData"), dict):
        plain = obj.pop("stringData")
        coded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **coded}
    return obj


def expecting(resource_version: str, change: Object) -> Object:
    """The change, refused by the server if the object is not the one that was looked at."""
    return {**change, "metadata": {**change.get("metadata", {}), "resourceVersion": resource_version}}
