# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry and file tree hold what the catalogue names; this machine and the nodes reach them, and nobody else."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml

PLATFORM = os.environ.get("OPSFORGE_PLATFORM", "opsforge")
CHECKOUT = Path(__file__).parents[3]
ROLE = CHECKOUT / "collections/ansible_collections/opsforge/platform/roles/mirror"
CATALOGUE: list[dict[str, Any]] = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))[
    "mirror_catalogue"
]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def inspect(name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(
        testinfra.get_host("local://").check_output(f"docker inspect {PLATFORM}-{name}")
    )
    return found[0]


def published(name: str) -> str:
    (bindings,) = (ports for ports in inspect(name)["NetworkSettings"]["Ports"].values() if ports)
    (binding,) = bindings
    assert binding["HostIp"] == "127.0.0.1", "nobody else's machine gets in"
    return f"http://127.0.0.1:{binding['HostPort']}"


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("name", ["registry", "files"])
def test_containers_are_this_checkouts(name: str) -> None:
    container = inspect(name)
    assert container["State"]["Running"]
    assert container["Config"]["Labels"]["opsforge.dev/platform"] == PLATFORM
    assert container["Config"]["Labels"]["opsforge.dev/checkout"] == str(CHECKOUT)
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


IMAGES = [wish for wish in CATALOGUE if wish["kind"] == "image" and not wish.get("local") and not wish.get("part")]


@pytest.mark.parametrize("wish", IMAGES, ids=lambda wish: wish["name"])
def test_image_is_in_the_registry(wish: dict[str, Any]) -> None:
    repository, _, tag = wish["image"].replace("{version}", wish["version"]).rpartition(":")
    manifest = json.loads(get(f"{published('registry')}/v2/{repository}/manifests/{tag}", Accept=MANIFEST))
    config = json.loads(get(f"{published('registry')}/v2/{repository}/blobs/{manifest['config']['digest']}"))
    assert config["os"] == "linux"
    assert manifest["layers"]


FILES = [wish for wish in CATALOGUE if wish["kind"] == "files" and not wish.get("part")]


@pytest.mark.parametrize("wish", FILES, ids=lambda wish: wish["name"])
def test_files_have_their_checksums_beside_them(wish: dict[str, Any]) -> None:
    name = min(wish["files"])
    url = f"{published('files')}/{wish['name']}/{wish['version']}/{name}"
    assert get(f"{url}.sha256").decode().split() == [hashlib.sha256(get(url)).hexdigest(), name]


@pytest.mark.parametrize("name, path", [("registry", "/v2/"), ("files", "/kubernetes/1.36.3/kubelet.sha256")])
def test_nodes_reach_both(name: str, path: str) -> None:
    network = inspect(name)["NetworkSettings"]
    (port,) = (inner.partition("/")[0] for inner, outer in network["Ports"].items() if outer)
    url = f"http://{network['Networks'][PLATFORM]['IPAddress']}:{port}{path}"
    node = testinfra.get_host(f"docker://{PLATFORM}-cp1")
    assert node.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {url}") == "200"
