# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is written to a checked list of objects, in waves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._kinds import Kinds
from ansible_collections.opsforge.platform.plugins.module_utils._objects import identity, parse, settle
from ansible_collections.opsforge.platform.plugins.module_utils._waves import waves

GOOD = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def nobody_knows(api_version: str) -> None:
    return None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (42, "item 1 of objects is not an object but int"),
        ([GOOD], "item 1 of objects is a list, not an object"),
        ("- 1", "item 1 of objects is a list, not an object"),
        ("a: b: c", "item 1 of objects is not valid YAML, line 1"),
        ("{{ broken", "item 1 of objects is not valid YAML"),
        ({"kind": "ConfigMap", "metadata": {"name": "a"}}, "item 1 of objects has no apiVersion"),
        ({"apiVersion": "v1", "metadata": {"name": "a"}}, "item 1 of objects has no kind"),
        ({**GOOD, "metadata": None}, "ConfigMap has no metadata.name"),
        ({**GOOD, "metadata": {"generateName": "a-"}}, "ConfigMap has no metadata.name"),
        ({**GOOD, "metadata": {"name": 5}}, "ConfigMap has no metadata.name"),
        ({"apiVersion": "v1", "kind": "List", "items": [GOOD, {}]}, "item 1 of objects has no apiVersion"),
        ({**GOOD, "kind": "CustomResourceDefinition", "spec": {"group": "g"}}, "needs spec.group, spec.names"),
    ],
)
def test_what_is_no_object_is_refused(written: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message.replace("[", r"\[")):
        parse([written])


def test_what_is_empty_is_nothing() -> None:
    assert parse(["", "---\n---\n# a comment", {"apiVersion": "v1", "kind": "List", "items": None}]) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="the manifest .*/gone.yml does not exist"):
        parse([], [str(tmp_path / "gone.yml")])


def test_string_data_becomes_data_and_wins() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
    written = {**secret, "data": {"a": "eA==", "b": "eA=="}, "stringData": {"b": "y", "n": 1}}
    (parsed,) = parse([written])
    assert parsed == {**secret, "data": {"a": "eA==", "b": "eQ==", "n": "MQ=="}}
    assert "stringData" in written, "the input is left alone"


def test_each_object_gets_its_namespace() -> None:
    written = [
        GOOD,
        {**GOOD, "metadata": {"name": "b", "namespace": "own"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},
        {"apiVersion": "x.example/v1", "kind": "Unknown", "metadata": {"name": "u"}},
    ]
    settled = settle(parse(written), Kinds(nobody_knows), "apps")
    assert [identity(obj) for obj in settled] == ["ConfigMap apps/a", "ConfigMap own/b", "Namespace n", "Unknown u"]


def test_a_definition_in_the_set_says_where_its_objects_live() -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.example"},
        "spec": {
            "group": "x.example",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": True}, {"name": "v0", "served": False}],
        },
    }
    thing = {"apiVersion": "x.example/v1", "kind": "Thing", "metadata": {"name": "t"}}
    kinds = Kinds(nobody_knows)
    assert identity(settle(parse([thing, definition]), kinds, "apps")[0]) == "Thing apps/t"
    assert kinds.find("x.example/v0", "Thing") is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([GOOD, {**GOOD, "metadata": {"name": "a", "namespace": "apps"}}], "ConfigMap apps/a is given twice"),
        (
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "namespace": "apps"}}],
            "Namespace n belongs to the whole cluster: remove its namespace apps",
        ),
    ],
)
def test_a_set_that_cannot_be_is_refused(written: list[Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        settle(parse(written), Kinds(nobody_knows), "apps")


def test_the_same_name_in_two_groups_is_two_objects() -> None:
    other = {**GOOD, "apiVersion": "x.example/v1"}
    assert len(settle(parse([GOOD, other]), Kinds(nobody_knows), "apps")) == 2


def test_waves_by_kind_and_by_annotation() -> None:
    def obj(kind: str, wave: str | None = None) -> dict[str, Any]:
        annotations = {"annotations": {"opsforge.dev/wave": wave}} if wave is not None else {}
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": kind.lower(), **annotations}}

    written = [
        obj("HTTPRoute"),
        obj("Deployment"),
        obj("Service"),
        obj("Widget"),
        obj("Secret"),
        obj("Job", "15"),
        obj("CustomResourceDefinition"),
        obj("Namespace"),
        obj("Pod", "-1"),
    ]
    order = [[entry["kind"] for entry in wave] for wave in waves(written)]
    assert order == [
        ["Pod"],
        ["CustomResourceDefinition", "Namespace"],
        ["Secret"],
        ["Job"],
        ["Service"],
        ["Deployment"],
        ["HTTPRoute", "Widget"],
    ]


def test_kinds_ask_the_server_once_and_again_only_while_it_does_not_know() -> None:
    asked: list[str] = []
    served: list[dict[str, Any]] = []

    def discover(api_version: str) -> list[dict[str, Any]] | None:
        asked.append(api_version)
        return served or None

    kinds = Kinds(discover)
    assert kinds.find("apps/v1", "Deployment") and not asked
    assert kinds.find("x.example/v1", "Thing") is None
    served += [
        {"name": "things", "kind": "Thing", "namespaced": False},
        {"name": "things/status", "kind": "Thing", "namespaced": False},
    ]
    found = kinds.find("x.example/v1", "Thing")
    assert found and found.path("ignored", "one") == "/apis/x.example/v1/things/one"
    assert kinds.find("x.example/v1", "Other") is None
    assert asked == ["x.example/v1"] * 2
