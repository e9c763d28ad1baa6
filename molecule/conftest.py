# SPDX-License-Identifier: GPL-3.0-or-later
"""A way into the running local platform, for every scenario's tests."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish, ensure_absent, ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect

CHECKOUT = Path(__file__).parents[1]
WISH = Wish(manager="opsforge-test", wait_timeout=120)
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
ANSWER_MAX = 32 << 20  # bytes; the most that is asked for are a thousand traces

T = TypeVar("T")
Ask = Callable[..., Any]


@dataclass
class Site:
    """The platform as a test sees it; whatever is made through it is removed again."""

    platform: str
    cluster: Cluster
    state_dir: Path
    made: list[dict[str, Any]] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")

    @property
    def kubeconfig(self) -> str:
        """The file with the administrator's way into the cluster."""
        return str(self.state_dir / "kubeconfig")

    def published(self, node_port: int) -> str:
        """Where on this machine a port of the first control plane is published, as `127.0.0.1:8080`."""
        ask = ["docker", "port", f"{self.platform}-cp1", f"{node_port}/tcp"]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()[0]

    def have(self, *objects: dict[str, Any]) -> None:
        """Apply the objects and wait until they are ready."""
        self.made += objects
        ensure_present(self.cluster, list(objects), WISH)

    def namespace(self) -> str:
        """Make a namespace of its own."""
        self.have({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})
        return self.name

    def open_network(self, namespace: str) -> None:
        """Let the pods of this test in a namespace reach all, and be reached by all, that others allow."""
        everything: dict[str, Any] = {"podSelector": {"matchLabels": self.labels}, "ingress": [{}], "egress": [{}]}
        self.have(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": self.name, "namespace": namespace},
                "spec": everything | {"policyTypes": ["Ingress", "Egress"]},
            }
        )

    def eventually(self, look: Callable[[], T], seconds: float = 60) -> T:
        """Look again and again until something true is seen. Fails after that many seconds."""
        deadline = time.monotonic() + seconds
        while not (seen := look()):
            assert time.monotonic() < deadline, f"after {seconds} s still {seen!r}"
            time.sleep(0.5)
        return seen

    @property
    def labels(self) -> dict[str, str]:
        """Labels of this test's pods, and of no other."""
        return {"app.kubernetes.io/name": self.name}

    def pod(self, image: str, command: list[str], **container: Any) -> dict[str, Any]:
        """Return a pod template that Pod Security `restricted` accepts."""
        main = {"name": "main", "image": image, "command": command, "securityContext": CONTAINER_SECURITY} | container
        spec = {"automountServiceAccountToken": False, "securityContext": POD_SECURITY, "containers": [main]}
        return {"metadata": {"labels": self.labels}, "spec": spec}

    def run(self, namespace: str, image: str, script: str, *, service: str = "", **container: Any) -> str:
        """Run a shell script in a pod until it ends, and return what it wrote. Fails if the script does.

        With the name of a service, the network policies of that service hold for the pod.
        """
        template = self.pod(image, ["sh", "-ec", script], **container)
        if service:
            template["metadata"]["labels"] = {"app.kubernetes.io/name": service}
        template["spec"]["restartPolicy"] = "Never"
        job = f"{self.name}-{len(self.made)}"
        self.have(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": job, "namespace": namespace},
                "spec": {"backoffLimit": 0, "template": template},
            }
        )
        (pod,) = self.cluster.list("v1", "Pod", namespace, {"job-name": job})
        return self.cluster.logs(namespace, pod["metadata"]["name"], tail=100).strip()


def reach() -> Site:
    """The platform of the environment."""
    platform = os.environ.get("OPSFORGE_PLATFORM", "opsforge")
    state_dir = CHECKOUT / ".state" / platform
    return Site(platform, connect({"kubeconfig": str(state_dir / "kubeconfig")}), state_dir)


@pytest.fixture
def site() -> Iterator[Site]:
    """The running platform."""
    found = reach()
    yield found
    ensure_absent(found.cluster, found.made, Wish(manager="opsforge-test"))


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Ask a Service, as `<namespace>/<name>`, through the API server's proxy, as people do."""
    cluster = reach().cluster

    def get(server: str, path: str, /, **query: str) -> Any:
        where = f"/{path}?{urllib.parse.urlencode(query)}"
        answer = cluster.fetch(*server.split("/"), "http", where, limit=ANSWER_MAX, timeout=30)
        assert answer.status == 200, answer.body.decode()
        return json.loads(answer.body)

    return get
