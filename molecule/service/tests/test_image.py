# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that run: small, without rights or tools, and with a bill of materials that tells what is inside."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Site

MOST_BYTES = 200_000_000
TOOLS = (
    "gcc",
    "cc",
    "g++",
    "clang",
    "ld",
    "as",
    "make",
    "pip",
    "apt-get",
    "perl",
    "curl",
    "wget",
    "su",
    "mount",
    "strip",
)
# One look at everything, as the user that the service runs as.
LOOK = f"""
import importlib.metadata, json, os, shutil, subprocess
dpkg = ["dpkg-query", "--show", "--showformat=${{Package}}\\t${{Version}}\\t${{db:Status-Status}}\\n"]
listed = subprocess.run(dpkg, capture_output=True, text=True, check=True).stdout.splitlines()
listed = [line.split("\\t") for line in listed]
raised = ["find", "/", "-xdev", "-type", "f", "-perm", "/6000"]
print(json.dumps({{
    "python": [[found.name, found.version] for found in importlib.metadata.distributions()],
    "debian": [[name, version] for name, version, status in listed if status == "installed"],
    "tools": [tool for tool in {TOOLS!r} if shutil.which(tool)],
    "raised": subprocess.run(raised, capture_output=True, text=True).stdout.split(),
    "writable": [path for path in ("/", "/app", "/opt/venv", "/usr", "/etc") if os.access(path, os.W_OK)],
    "user": [os.getuid(), os.getgid()],
    "bill": json.load(open("/usr/share/sbom/bom.cdx.json")),
}}))
"""


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def images(site: Site) -> list[str]:
    """The images in use, as this machine reaches them."""
    registry = docker("port", f"{site.platform}-registry", "5000/tcp").split()[0]
    deployments = site.cluster.list("apps/v1", "Deployment", "apps", {"app.kubernetes.io/managed-by": "opsforge"})
    used = [found for found in deployments if found["spec"].get("replicas")]
    return sorted({f"{registry}/{found['spec']['template']['spec']['containers'][0]['image']}" for found in used})


@pytest.fixture
def looks(site: Site) -> dict[str, dict[str, Any]]:
    """What is in each image, by its name without a digest: read-only and without a network, as in a pod."""
    found = {}
    for image in images(site):
        docker("pull", "--quiet", image)
        limits = ("--rm", "--read-only", "--network=none", "--cap-drop=ALL")
        seen = json.loads(docker("run", *limits, "--entrypoint=python3", image, "-c", LOOK))
        found[image.partition("@")[0]] = {**seen, "config": json.loads(docker("image", "inspect", image))[0]}
    return found


def test_what_runs_is_small_and_can_do_nothing_but_run(looks: dict[str, dict[str, Any]]) -> None:
    assert looks
    for image, found in looks.items():
        assert found["config"]["Size"] < MOST_BYTES, image
        assert found["user"] == [10001, 10001], image
        assert (found["tools"], found["raised"], found["writable"]) == ([], [], []), image


def test_its_labels_say_what_it_is(looks: dict[str, dict[str, Any]]) -> None:
    for image, found in looks.items():
        labels = found["config"]["Config"]["Labels"]
        repository, _, version = image.rpartition(":")
        assert labels["org.opencontainers.image.title"] == f"opsforge-{repository.rpartition('/')[2]}"
        assert labels["org.opencontainers.image.version"] == version
        assert labels["org.opencontainers.image.licenses"] == "GPL-3.0-or-later"
        assert labels["dev.opsforge.sbom"] == "/usr/share/sbom/bom.cdx.json"


def test_its_bill_of_materials_is_complete_and_true(looks: dict[str, dict[str, Any]]) -> None:
    for image, found in looks.items():
        bill = found["bill"]
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        assert image.endswith(
            f"{bill['metadata']['component']['name'].removeprefix('opsforge-')}:{bill['metadata']['component']['version']}"
        )
        named = {kind: set() for kind in ("pypi", "deb", "generic")}
        for component in bill["components"]:
            kind = component["purl"].removeprefix("pkg:").partition("/")[0]
            named[kind].add((component["name"], component["version"]))
        assert named["pypi"] == {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found["python"]}
        assert named["deb"] == {(name, version) for name, version in found["debian"]}
        assert [name for name, _ in named["generic"]] == ["python"]
        references = [component["bom-ref"] for component in bill["components"]]
        assert len(references) == len(set(references))
        assert sorted(bill["dependencies"][0]["dependsOn"]) == sorted(references)
