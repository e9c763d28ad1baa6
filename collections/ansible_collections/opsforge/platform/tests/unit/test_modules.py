# SPDX-License-Identifier: GPL-3.0-or-later
"""The Go recipes agree on what most programs stand on, so that one cold mirror compiles it once, not once for each."""

from __future__ import annotations

import re
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "roles" / "mirror" / "files" / "go"
REQUIRED = re.compile(r"^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)", re.MULTILINE)
FOUNDATIONS = re.compile(
    r"golang\.org/x/|google\.golang\.org/(grpc|protobuf|genproto)|go\.opentelemetry\.io/(otel|contrib|proto)"
    r"|github\.com/prometheus/(client_golang|client_model|common|exporter-toolkit)|(sigs\.)?k8s\.io/"
)
# Built with the versions that their makers released them with, and why.
AS_RELEASED = {
    "kubernetes": "its own parts are pinned to each other",
    "jaeger": "1.76 ends at its start beside a later OpenTelemetry, whose schema is another",
    "kube-router": "its newest release is for a client of 2024",
    "kube-state-metrics": "2.18 does not compile with the client of 0.36",
}
# What these two link of Kubernetes is little, and comes in the version that they were written for.
OWN_KUBERNETES = {"prometheus", "loki"}


def test_recipes_agree_on_the_modules_that_most_stand_on() -> None:
    versions: dict[str, dict[str, set[str]]] = {}
    for file in sorted(RECIPES.glob("*/go.mod")):
        recipe = file.parent.name
        text = file.read_text(encoding="utf-8")
        for module, version in REQUIRED.findall(text):
            apart = recipe in AS_RELEASED or (recipe in OWN_KUBERNETES and "k8s.io/" in module)
            if FOUNDATIONS.match(module) and not apart:
                versions.setdefault(module, {}).setdefault(version, set()).add(recipe)
    assert len(versions) > 50, "the files were read"
    differ = {module: found for module, found in versions.items() if len(found) > 1}
    assert not differ, f"in each folder, `go get <module>@<newest of these>`: {differ}"
