# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for people's pagers, which cannot be had here: a pod that keeps what Alertmanager tells each receiver.

It speaks Alertmanager's webhook protocol. Its clock is the clock of this machine, as its node is a container here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish, ensure_absent, ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster

NAMESPACE, NAME, PORT = "pagers", "pager", 8080
DEADMAN = "deadman"
RECEIVERS = ("sre", "api", "worker", DEADMAN)
_MANAGER = "opsforge-benchmark"
_HEARD_BYTES_MAX = 16 * 2**20
_PROGRAM = """
import json, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

heard = []

class Pager(BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        heard.append({"receiver": self.path.strip("/"), "at": time.time(), "alerts": told["alerts"]})
        self.answer(b"")

    def do_GET(self):
        self.answer(json.dumps(heard[int(self.path.rpartition("/")[2] or 0):]).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", 8080), Pager).serve_forever()
"""


@dataclass(frozen=True)
class Notification:
    """What one receiver was told of one alert, and when, in seconds since the epoch."""

    receiver: str
    at: float
    status: str
    labels: dict[str, str]
    # When it began to fire, as Prometheus says it.
    since: str

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname", "")


@dataclass(frozen=True)
class Pager:
    """The running pod."""

    cluster: Cluster

    @property
    def webhooks(self) -> dict[str, dict[str, str]]:
        """The option `monitoring_webhooks` that has every receiver's notifications come here."""
        return {name: {"url": f"http://{NAME}.{NAMESPACE}.svc:{PORT}/{name}"} for name in RECEIVERS}

    def heard(self, begin: int = 0) -> list[dict[str, Any]]:
        """All posts from a number on, as they came."""
        answer = self.cluster.fetch(NAMESPACE, NAME, PORT, f"/{begin}", limit=_HEARD_BYTES_MAX, timeout=10)
        found: list[dict[str, Any]] = json.loads(answer.body)
        return found

    def notifications(self, begin: int = 0) -> list[Notification]:
        """Each alert in each post from a number on."""
        return [
            Notification(post["receiver"], post["at"], alert["status"], alert["labels"], alert["startsAt"])
            for post in self.heard(begin)
            for alert in post["alerts"]
        ]


@contextmanager
def pager(cluster: Cluster, image: str) -> Iterator[Pager]:
    """A pager for as long as it is needed, in a pod of an image that has python3."""
    objects = _objects(image)
    ensure_present(cluster, objects, Wish(manager=_MANAGER, wait_timeout=120))
    try:
        yield Pager(cluster)
    finally:
        ensure_absent(cluster, objects, Wish(manager=_MANAGER, wait_timeout=120))


def _objects(image: str) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": NAME}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    container = {
        "name": NAME,
        "image": image,
        "command": ["python3", "-c", _PROGRAM],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/0", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        # Not on the node that is taken away while it listens.
        "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
        "containers": [container],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]
