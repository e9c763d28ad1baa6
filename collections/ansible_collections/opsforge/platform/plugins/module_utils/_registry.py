# SPDX-License-Identifier: GPL-3.0-or-later
"""Image registries: copying an image from one to another, and reading what a registry's storage holds.

Speaks the registry HTTP API, version 2, itself: no engine is needed, and every byte is verified by its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._download import CHUNK, TRIES, Web
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# Docker's name for its registry is not the host that serves it.
ENDPOINTS = {"docker.io": "registry-1.docker.io"}
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Reference:
    """Where an image is: registry, repository, and a tag or digest."""

    host: str
    repository: str
    version: str

    @classmethod
    def parse(cls, name: str) -> Reference:
        """From a full name: host/repository:tag or host/repository@sha256:digest."""
        host, _, rest = name.partition("/")
        repository, separator, version = rest.partition("@")
        if not separator:
            repository, separator, version = rest.rpartition(":")
        if not host or not repository or not version:
            raise Invalid(f"{name} is not the full name of an image: registry/repository:tag.")
        return cls(host, repository, version)


@dataclass(frozen=True)
class Manifest:
    """A manifest as it came, so that its digest stays the same when it is stored elsewhere."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        """What names the manifest everywhere."""
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"

    @property
    def content(self) -> dict[str, Any]:
        """The parsed body."""
        return dict(json.loads(self.body))

    @property
    def blobs(self) -> list[tuple[str, int]]:
        """Digest and size of the configuration and of each layer."""
        content = self.content
        return [(blob["digest"], blob["size"]) for blob in [content["config"], *content["layers"]]]


class Registry:
    """One registry, asked without credentials (or with the anonymous token that it hands out)."""

    def __init__(self, host: str, web: Web) -> None:
        self.host = host
        scheme = "http" if _is_loopback(host) else "https"
        self._base = f"{scheme}://{ENDPOINTS.get(host, host)}"
        self._web = web
        self._token = ""

    def manifest(self, repository: str, version: str) -> Manifest:
        """The manifest or index of a tag or digest; NotFound if the registry has none."""
        request = self._request(f"/v2/{repository}/manifests/{version}", Accept=", ".join(INDEXES + MANIFESTS))
        with self._open(request) as response:
            found = Manifest(response.headers.get_content_type(), response.read())
        if version.startswith("sha256:") and found.digest != version:
            raise Invalid(
                f"{self.host}/{repository} was refused: its manifest is {found.digest}, and {version} was expected."
            )
        return found

    def configuration(self, repository: str, manifest: Manifest) -> dict[str, Any]:
        """What an image says about itself: its entry point, labels and history."""
        digest = manifest.content["config"]["digest"]
        with self._open(self._request(f"/v2/{repository}/blobs/{digest}")) as response:
            body = response.read()
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise Invalid(f"{self.host}/{repository} was refused: its configuration is not {digest}.")
        return dict(json.loads(body))

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository already holds the blob."""
        try:
            with self._open(self._request(f"/v2/{repository}/blobs/{digest}", "HEAD")):
                return True
        except NotFound:
            return False

    def fetch_blob(self, repository: str, digest: str, target: Path) -> None:
        """Write the blob to `target`, or nothing if its content is another one."""
        seen = hashlib.sha256()
        with self._open(self._request(f"/v2/{repository}/blobs/{digest}")) as response, target.open("wb") as sink:
            while chunk := response.read(CHUNK):
                seen.update(chunk)
                sink.write(chunk)
        if f"sha256:{seen.hexdigest()}" != digest:
            target.unlink()
            raise Invalid(
                f"{self.host}/{repository} was refused: a layer has the digest sha256:{seen.hexdigest()}, "
                f"and {digest} was expected."
            )

    def push_blob(self, repository: str, digest: str, source: Path) -> None:
        """Store the blob."""
        with self._open(self._request(f"/v2/{repository}/blobs/uploads/", "POST", data=b"")) as response:
            place = urllib.parse.urljoin(f"{self._base}/", response.headers["Location"])
        place += ("&" if "?" in place else "?") + urllib.parse.urlencode({"digest": digest})
        with source.open("rb") as data:
            headers = {"Content-Length": str(source.stat().st_size), "Content-Type": "application/octet-stream"}
            # One try: a second one would go on reading where the first stopped.
            with self._open(urllib.request.Request(place, data, headers, method="PUT"), tries=1):
                pass

    def push_manifest(self, repository: str, version: str, manifest: Manifest) -> None:
        """Store the manifest under a tag; its blobs must be there."""
        path = f"/v2/{repository}/manifests/{version}"
        headers = {"Content-Type": manifest.media_type}
        with self._open(urllib.request.Request(self._base + path, manifest.body, headers, method="PUT")):
            pass

    def wait(self, tries: int) -> None:
        """Return when the registry answers; Unreachable after that many tries, two seconds apart."""
        with self._web.open(f"{self._base}/v2/", tries=tries):
            pass

    def _request(
        self, path: str, method: str = "GET", data: bytes | None = None, **headers: str
    ) -> urllib.request.Request:
        return urllib.request.Request(self._base + path, data, headers, method=method)

    @contextlib.contextmanager
    def _open(self, request: urllib.request.Request, *, tries: int = TRIES) -> Iterator[Any]:
        """The answer to a request; gets a token when it is asked for one, and turns refusals into our errors."""
        with contextlib.ExitStack() as stack:
            try:
                try:
                    response = stack.enter_context(self._web.open(self._with_token(request), tries=tries))
                except urllib.error.HTTPError as error:
                    if error.code != 401 or not self._authorize(error.headers.get("WWW-Authenticate", "")):
                        raise
                    response = stack.enter_context(self._web.open(self._with_token(request), tries=tries))
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    raise NotFound(f"{request.full_url} does not exist.") from None
                raise Invalid(f"{request.full_url} was answered with {error.code} {error.reason}.") from None
            yield response

    def _with_token(self, request: urllib.request.Request) -> urllib.request.Request:
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        return request

    def _authorize(self, challenge: str) -> bool:
        """Get the token that a challenge asks for; False if it is of another kind."""
        words = dict(CHALLENGE.findall(challenge))
        if not challenge.lower().startswith("bearer ") or "realm" not in words:
            return False
        realm = words.pop("realm")
        answer = json.loads(self._web.text(f"{realm}?{urllib.parse.urlencode(words)}"))
        self._token = answer.get("token") or answer.get("access_token") or ""
        return bool(self._token)


def copy(source: Reference, target: Reference, *, arch: str, scratch: Path, web: Web, digest: str = "") -> str:
    """Copy one architecture's image and return the digest it has at the target.

    `digest`, if given, is what the source's index or manifest must have. Blobs pass through the folder `scratch`;
    the tag at the target appears last, when everything under it is there.
    """
    upstream, here = Registry(source.host, web), Registry(target.host, web)
    manifest = upstream.manifest(source.repository, digest or source.version)
    if manifest.media_type in INDEXES or "manifests" in manifest.content:
        manifest = upstream.manifest(source.repository, _of_architecture(manifest, arch, source))
    for blob, _size in manifest.blobs:
        if not here.has_blob(target.repository, blob):
            path = scratch / blob.replace(":", "-")
            upstream.fetch_blob(source.repository, blob, path)
            here.push_blob(target.repository, blob, path)
            path.unlink()
    here.push_manifest(target.repository, target.version, manifest)
    return manifest.digest


def _of_architecture(index: Manifest, arch: str, source: Reference) -> str:
    for entry in index.content["manifests"]:
        platform = entry.get("platform", {})
        if platform.get("os") == "linux" and platform.get("architecture") == arch:
            return str(entry["digest"])
    raise Invalid(f"{source.host}/{source.repository}:{source.version} has no image for linux/{arch}.")


class Storage:
    """What stands in a registry's storage folder; needs no running registry."""

    def __init__(self, root: Path) -> None:
        self._root = root / "docker" / "registry" / "v2"

    def digest(self, image: Reference) -> str | None:
        """The digest that the tag points at, if everything below it is there."""
        tag = self._root / "repositories" / image.repository / "_manifests" / "tags" / image.version
        try:
            digest = (tag / "current" / "link").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return digest if self.holds(image.repository, digest) else None

    def holds(self, repository: str, digest: str) -> bool:
        """Whether the manifest and each of its blobs are there, in full length and linked in the repository."""
        place = self._root / "repositories" / repository
        try:
            body = self._blob(digest).read_bytes()
            linked = (place / "_manifests" / "revisions" / digest.replace(":", "/") / "link").is_file()
            return linked and all(
                self._blob(blob).stat().st_size == size
                and (place / "_layers" / blob.replace(":", "/") / "link").is_file()
                for blob, size in Manifest("", body).blobs
            )
        except (OSError, ValueError, KeyError):
            return False

    def _blob(self, digest: str) -> Path:
        algorithm, _, digits = digest.partition(":")
        return self._root / "blobs" / algorithm / digits[:2] / digits / "data"


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
