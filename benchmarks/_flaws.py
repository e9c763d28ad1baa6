# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of a service that are broken on purpose: the one in use, but for some of its files."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._image import SOURCES_LABEL
from benchmarks._report import CHECKOUT

_LIST_ROUTE, _LIST_LINE = "catalog/products/routes.py", "    words = search.clean(q)\n"


def push(cluster: Cluster, platform: str, namespace: str, service: str, word: str, files: Mapping[str, str]) -> str:
    """Push a version that is the one in use but for these files (path in services/: text); returns its name."""
    serving = _slots.read(cluster, namespace, service).serving
    if serving is None:
        raise RuntimeError(f"{service} has no traffic")
    version = f"{serving.version}-{word}"
    ask = ["docker", "port", f"{platform}-registry", "5000/tcp"]
    registry = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()[0]
    image = f"{registry}/registry.opsforge.dev/opsforge/{service}"
    copies = [f"COPY {number} /app/{path}" for number, path in enumerate(files)]
    # It must not say that it was made from what is in this checkout, or it is made again from that.
    lines = [f"FROM {image}:{serving.version}", *copies, f"LABEL {SOURCES_LABEL}=", ""]
    texts = {"Dockerfile": "\n".join(lines), **{str(number): text for number, text in enumerate(files.values())}}
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    tag = f"{image}:{version}"
    subprocess.run(["docker", "build", "--tag", tag, "-"], input=context.getvalue(), check=True, capture_output=True)
    subprocess.run(["docker", "push", tag], check=True, capture_output=True)
    subprocess.run(["docker", "rmi", tag], check=True, capture_output=True)
    return version


def list_with(lines: str) -> dict[str, str]:
    """The files of a catalogue that does something more when it is asked for its list: lines of Python."""
    source = (CHECKOUT / "services" / _LIST_ROUTE).read_text(encoding="utf-8")
    if _LIST_LINE not in source:
        raise RuntimeError(f"{_LIST_ROUTE} no longer has the line that is spoiled")
    return {_LIST_ROUTE: source.replace(_LIST_LINE, lines + _LIST_LINE)}


def empty(cluster: Cluster, namespace: str, service: str) -> None:
    """Take away the slot without traffic: a broken version is nothing that anybody goes back to."""
    state = _slots.read(cluster, namespace, service)
    for slot in state.slots.values():
        if slot.name != state.active:
            name = _slots.deployment(service, slot.name)
            cluster.delete("apps/v1", "Deployment", name, namespace)
