# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes API in seconds: etcd and kube-apiserver as two processes on loopback, no node, no controller."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_START_SECONDS = 90


def find_binary(component: str, name: str) -> Path:
    """Find a program in $OPSFORGE_BIN, the mirror's file tree, or on PATH; newest version first. Exits if absent."""
    cache = Path(os.environ.get("OPSFORGE_CACHE", "~/.cache/opsforge")).expanduser()
    places = [Path(place) for place in os.environ.get("OPSFORGE_BIN", "").split(os.pathsep) if place]
    candidates = [path for place in places for path in (place / name, place / component / name)]
    candidates += sorted((cache / "files" / component).glob(f"*/**/{name}"), reverse=True)
    on_path = shutil.which(name)
    candidates += [Path(on_path)] if on_path else []
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(
        f"{name} is neither in $OPSFORGE_BIN nor in {cache / 'files' / component} nor on PATH:"
        " fill the mirror (make site) or set OPSFORGE_BIN to a folder that holds it"
    )


def run_tool(component: str, name: str, *words: str | Path) -> str:
    """Run a program of the mirror's, and return what it prints; fails with its words if it does."""
    done = subprocess.run([find_binary(component, name), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def find_file(artifact: str, name: str) -> Path:
    """Find a file that is no program in the mirror's file tree, newest version first. Raises FileNotFoundError."""
    cache = Path(os.environ.get("OPSFORGE_CACHE", "~/.cache/opsforge")).expanduser()
    for path in sorted((cache / "files" / artifact).glob(f"*/{name}"), reverse=True):
        return path
    raise FileNotFoundError(f"{name} is not in {cache / 'files' / artifact}: fill the mirror (make site)")


def free_ports(count: int) -> list[int]:
    """Reserve distinct free ports on loopback for a moment and return them."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class ControlPlane:
    """Two processes in one folder; `kubeconfig` is the file of an administrator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = secrets.token_hex(16)

    def start(self) -> None:
        """Start both and wait until the API answers. Raises RuntimeError with the log's end if it does not."""
        etcd_port, peer_port, self.port = free_ports(3)
        etcd_url = f"http://127.0.0.1:{etcd_port}"
        peer_url = f"http://127.0.0.1:{peer_port}"
        self._key_pair()
        (self.folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        self._run(
            find_binary("etcd", "etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        self._run(
            find_binary("kubernetes", "kube-apiserver"),
            f"--etcd-servers={etcd_url}",
            f"--cert-dir={self.folder / 'certs'}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'sa.key'}",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--disable-admission-plugins=ServiceAccount",
            # A list from the cache waits for news from etcd, which nobody but the test writes to: 15 ms for each.
            "--watch-cache-sizes=pods#0,deployments.apps#0",
        )
        self._write_kubeconfig()
        self._wait_healthy()

    def stop(self) -> None:
        """End both processes at once: a graceful stop takes half a minute, and nothing here is worth keeping."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def crash_api(self) -> None:
        """End the API server as a lost machine does; what it stored stays."""
        self._processes[-1].kill()
        self._processes[-1].wait()

    def restart_api(self) -> None:
        """Start the API server again where it was, and wait until it answers."""
        program, *arguments = map(str, self._processes.pop().args)  # type: ignore[arg-type]
        self._run(Path(program), *arguments)
        self._wait_healthy()

    def _run(self, program: Path, *arguments: str) -> None:
        with (self.folder / f"{program.name}.log").open("ab") as log:
            self._processes.append(subprocess.Popen([program, *arguments], stdout=log, stderr=log))

    def _key_pair(self) -> None:
        command = ["openssl", "genrsa", "-out", str(self.folder / "sa.key"), "2048"]
        subprocess.run(command, check=True, capture_output=True)

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "admin",
            "contexts": [{"name": "admin", "context": {"cluster": "local", "user": "admin"}}],
            "clusters": [
                {
                    "name": "local",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self.port}",
                        "certificate-authority": "certs/apiserver.crt",
                    },
                }
            ],
            "users": [{"name": "admin", "user": {"token": self._token}}],
        }
        self.kubeconfig.write_text(json.dumps(config))
        self.kubeconfig.chmod(0o600)

    def _wait_healthy(self) -> None:
        tls = ssl._create_unverified_context()
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/readyz", headers={"Authorization": f"Bearer {self._token}"}
        )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            try:
                with urllib.request.urlopen(request, timeout=5, context=tls):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)  # the server is starting
        logs = "\n".join(log.read_text(errors="replace")[-1500:] for log in self.folder.glob("*.log"))
        self.stop()
        raise RuntimeError(f"the control plane did not become ready in {_START_SECONDS} s:\n{logs}")


if __name__ == "__main__":
    plane = ControlPlane(Path(sys.argv[1]))
    plane.folder.mkdir(parents=True, exist_ok=True)
    plane.start()
    print(plane.kubeconfig, flush=True)
    try:
        sys.stdin.read()
    finally:
        plane.stop()
