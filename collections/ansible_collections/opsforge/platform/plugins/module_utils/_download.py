# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads that are refused unless their checksum is the published or pinned one."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import expand
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, Unreachable

CHUNK = 1 << 20
TRIES = 3
TIMEOUT_SECONDS = 60


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps credentials from the host they lead to."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            following.remove_header("Authorization")
        return following


class Web:
    """HTTP with retries for what passes by itself; honours the usual proxy variables."""

    def __init__(self, ca_bundle: str | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        context = ssl.create_default_context(cafile=ca_bundle or None)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirects())
        self._sleep = sleep

    @contextlib.contextmanager
    def open(self, request: str | urllib.request.Request, *, tries: int = TRIES) -> Iterator[Any]:
        """The response, open for reading.

        Raises urllib.error.HTTPError for an answer that is an error, and Unreachable if there was none.
        """
        url = request if isinstance(request, str) else request.full_url
        for left in reversed(range(tries)):
            try:
                response = self._opener.open(request, timeout=TIMEOUT_SECONDS)
                break
            except urllib.error.HTTPError as error:
                if left and error.code in (429, 500, 502, 503, 504):
                    self._sleep(2)
                    continue
                raise
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise Unreachable(f"{url} did not answer: {getattr(error, 'reason', error)}.") from None
                self._sleep(2)
        with response:
            yield response

    def text(self, url: str, *, limit: int = 1 << 20) -> str:
        """A short document; Invalid if the server refuses it."""
        try:
            with self.open(url) as response:
                return str(response.read(limit).decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            raise Invalid(f"{url} was answered with {error.code} {error.reason}.") from None

    def fetch(self, url: str, target: Path, sha256: str) -> None:
        """Write the document to `target`, or nothing if its SHA-256 is another one."""
        digest = hashlib.sha256()
        try:
            with self.open(url) as response, target.open("wb") as sink:
                while chunk := response.read(CHUNK):
                    digest.update(chunk)
                    sink.write(chunk)
        except urllib.error.HTTPError as error:
            raise Invalid(f"{url} was answered with {error.code} {error.reason}.") from None
        except (OSError, http.client.HTTPException) as error:
            target.unlink(missing_ok=True)
            raise Unreachable(f"{url} broke off: {error}.") from None
        if digest.hexdigest() != sha256:
            target.unlink()
            raise Invalid(f"{url} was refused: its SHA-256 is {digest.hexdigest()}, and {sha256} was expected.")


def published(text: str, name: str) -> str | None:
    """The SHA-256 of `name` in a checksum file: a lone digest, or lines of digest and name."""
    for line in text.splitlines():
        words = line.split()
        if not words or len(words[0]) != 64 or not set(words[0].lower()) <= set("0123456789abcdef"):
            continue
        if len(words) == 1 or words[-1].lstrip("*").rpartition("/")[2] == name:
            return words[0].lower()
    return None


def download(wish: Mapping[str, Any], names: tuple[str, ...], out: Path, web: Web) -> None:
    """Fill `out` with the files: each by its own URL, or as members of one archive.

    `wish` has `url`, and `checksums` (by file; by the archive's name) or `checksum_url`; `members` says where in an
    archive each file stands.
    """
    members = wish.get("members")
    if not members:
        for name in names:
            _download_one(expand(dict(wish), {"file": name}), name, out / name, web)
            (out / name).chmod(0o755)
        return
    archive = out.parent / wish["url"].rpartition("/")[2]
    _download_one(wish, archive.name, archive, web)
    with tarfile.open(archive) as tar:
        for name in names:
            try:
                source = tar.extractfile(members[name])
            except KeyError:
                source = None
            if source is None:
                raise Invalid(f"{wish['url']} does not hold {members.get(name, name)}.")
            with source, (out / name).open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
            (out / name).chmod(0o755)
    archive.unlink()


def _download_one(wish: Mapping[str, Any], name: str, target: Path, web: Web) -> None:
    url = wish["url"]
    digest = (wish.get("checksums") or {}).get(name, "").removeprefix("sha256:")
    if not digest and wish.get("checksum_url"):
        digest = published(web.text(wish["checksum_url"]), url.rpartition("/")[2]) or ""
    if not digest:
        raise Invalid(
            f"{url} has no checksum: neither the catalogue nor {wish.get('checksum_url', 'a URL')} names one."
        )
    web.fetch(url, target, digest)
