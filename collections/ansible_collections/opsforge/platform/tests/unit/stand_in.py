# SPDX-License-Identifier: GPL-3.0-or-later
"""STAND-INS on loopback for what a test machine cannot reach: an upstream's download site and an image registry.

They are not the real programs. `StandInRegistry` speaks the part of the registry HTTP API, version 2, that the mirror
uses, and keeps its images in the folder layout of the real registry; real registries are met by `make site`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(body: bytes) -> str:
    """The digest of a body, as registries write it."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass

    def answer(self, code: int, body: bytes = b"", kind: str = "application/octet-stream", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def stand_in_site(files: dict[str, bytes], asked: list[str]) -> Iterator[str]:
    """STAND-IN for a download site: serves the files by path, notes what was asked for, yields its address."""

    class Site(_Quiet):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.headers.get("Authorization"):
                return self.answer(400)  # as a store of blobs does that has credentials of its own
            body = files.get(self.path)
            return self.answer(404 if body is None else 200, body or b"")

    with _serving(Site) as address:
        yield address


class StandInRegistry:
    """STAND-IN for an image registry; with a `token` it serves only those who fetched it, as public registries do."""

    def __init__(self, root: Path, token: str = "") -> None:
        self.root = root / "docker" / "registry" / "v2"
        self.token = token
        self.pushed: list[str] = []
        # Where blobs are fetched instead, as public registries do it.
        self.elsewhere = ""

    def blob(self, digest: str) -> Path:
        """Where the blob's bytes are."""
        digits = digest.removeprefix("sha256:")
        return self.root / "blobs" / "sha256" / digits[:2] / digits / "data"

    def put_blob(self, repository: str, body: bytes) -> str:
        """Store a blob and return its digest."""
        digest = sha256(body)
        self._write(self.blob(digest), body)
        self._write(
            self.root / "repositories" / repository / "_layers" / digest.replace(":", "/") / "link", digest.encode()
        )
        return digest

    def put_manifest(self, repository: str, tag: str, body: bytes) -> str:
        """Store a manifest or index under a tag and return its digest."""
        digest = sha256(body)
        place = self.root / "repositories" / repository / "_manifests"
        self._write(self.blob(digest), body)
        self._write(place / "revisions" / digest.replace(":", "/") / "link", digest.encode())
        if not tag.startswith("sha256:"):
            self._write(place / "tags" / tag / "current" / "link", digest.encode())
        return digest

    def put_image(
        self, repository: str, tag: str, layer: bytes, architectures: tuple[str, ...] = ("amd64", "arm64")
    ) -> str:
        """Store an image for each architecture and return the digest of their index."""
        entries = []
        for architecture in architectures:
            config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
            content = layer + architecture.encode()
            body = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": {"digest": self.put_blob(repository, config), "size": len(config)},
                    "layers": [{"digest": self.put_blob(repository, content), "size": len(content)}],
                }
            ).encode()
            digest = self.put_manifest(repository, sha256(body), body)
            entries.append({"digest": digest, "platform": {"os": "linux", "architecture": architecture}})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        return self.put_manifest(repository, tag, index)

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Yield the registry's address."""
        registry = self

        class Handler(_Quiet):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path == "/token":
                    return self.answer(200, json.dumps({"token": registry.token}).encode())
                if registry.token and self.headers.get("Authorization") != f"Bearer {registry.token}":
                    realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="stand-in"'
                    return self.answer(401, WWW_Authenticate=realm)
                repository, kind, name = registry.split(path)
                digest = name if name.startswith("sha256:") else registry.tagged(repository, name)
                file = registry.blob(digest) if digest else None
                if file is None or not file.is_file():
                    return self.answer(404)
                if kind == "blobs" and registry.elsewhere:
                    return self.answer(307, Location=f"http://{registry.elsewhere}/{name}")
                body = file.read_bytes()
                media_type = json.loads(body)["mediaType"] if kind == "manifests" else "application/octet-stream"
                return self.answer(200, body, media_type)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                self.body()
                self.answer(202, Location=f"{urlsplit(self.path).path}{uuid.uuid4()}?state=x")

            def do_PUT(self) -> None:
                url, body = urlsplit(self.path), self.body()
                repository, kind, name = registry.split(url.path)
                if kind == "manifests":
                    registry.put_manifest(repository, name, body)
                    registry.pushed.append(f"{repository}:{name}")
                    return self.answer(201)
                wanted = parse_qs(url.query)["digest"][0]
                return self.answer(201 if registry.put_blob(repository, body) == wanted else 400)

        with _serving(Handler) as address:
            yield address

    def tagged(self, repository: str, tag: str) -> str:
        """The digest under a tag, or nothing."""
        link = self.root / "repositories" / repository / "_manifests" / "tags" / tag / "current" / "link"
        return link.read_text(encoding="ascii") if link.is_file() else ""

    @staticmethod
    def split(path: str) -> tuple[str, str, str]:
        """Repository, `manifests` or `blobs`, and what follows."""
        for kind in ("manifests", "blobs"):
            repository, found, name = path.removeprefix("/v2/").rpartition(f"/{kind}/")
            if found:
                return repository, kind, name
        return "", "", ""

    @staticmethod
    def _write(path: Path, body: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
