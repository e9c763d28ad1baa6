# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from upstream, against the STAND-IN download site and registries of stand_in.py on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsforge.platform.plugins.modules import mirror_artifact
from ansible_collections.opsforge.platform.tests.unit.stand_in import StandInRegistry, stand_in_site


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def tarball(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, body in members.items():
            entry = tarfile.TarInfo(f"release/{name}")
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return sink.getvalue()


class World:
    """A stand-in upstream, a stand-in registry of ours, and a cache between them."""

    def __init__(
        self, cache: Path, site: str, upstream: StandInRegistry, upstream_host: str, ours: StandInRegistry, host: str
    ):
        self.cache, self.site, self.upstream, self.upstream_host = cache, site, upstream, upstream_host
        self.ours, self.host = ours, host
        self.catalogue: list[dict[str, Any]] = []

    def run(self, name: str, capfd: pytest.CaptureFixture[str], *, check: bool = False) -> dict[str, Any]:
        args = {
            "name": name,
            "catalogue": self.catalogue,
            "folder": str(self.cache),
            "cache": str(self.cache),
            "source": "upstream",
            "registry": self.host,
            "_ansible_check_mode": check,
        }
        with patch_module_args(args), pytest.raises(SystemExit):
            mirror_artifact.main()
        return dict(json.loads(capfd.readouterr().out))

    def leftovers(self) -> list[str]:
        """Files in the cache that are not the lock, logs, or a registry's."""
        own = ("lock", "logs", "registry", "upstream")
        return [
            str(path.relative_to(self.cache))
            for path in self.cache.rglob("*")
            if not path.is_dir() and path.relative_to(self.cache).parts[0] not in own
        ]


@pytest.fixture
def files() -> dict[str, bytes]:
    return {}


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def world(tmp_path: Path, files: dict[str, bytes], asked: list[str]) -> Iterator[World]:
    upstream = StandInRegistry(tmp_path / "upstream", token="anonymous")
    ours = StandInRegistry(tmp_path / "registry")
    with stand_in_site(files, asked) as site, upstream.serving() as upstream_host, ours.serving() as host:
        yield World(tmp_path, site, upstream, upstream_host, ours, host)


def wish_for_files(world: World, **upstream: Any) -> dict[str, Any]:
    return {"name": "tool", "version": "1.0", "kind": "files", "files": ["tool", "helper"], "upstream": upstream}


def test_files_each_with_their_published_checksum(
    world: World, files: dict[str, bytes], asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("tool", "helper"):
        files[f"/v1.0/{name}"] = name.encode()
        files[f"/v1.0/{name}.sha256"] = digest(name.encode()).encode()
    url = f"http://{world.site}/v{{version}}/{{file}}"
    world.catalogue = [wish_for_files(world, url=url, checksum_url=f"{url}.sha256")]

    checked = world.run("tool", capfd, check=True)
    assert checked["changed"] is True
    assert checked["diff"] == {"before": "tool: missing\n", "after": "tool: published\n"}
    assert asked == []
    assert world.leftovers() == []

    assert world.run("tool", capfd)["changed"] is True
    served = world.cache / "files/tool/1.0"
    assert (served / "tool").read_bytes() == b"tool"
    assert (served / "tool").stat().st_mode & 0o777 == 0o755
    assert (served / "tool.sha256").read_text(encoding="ascii").split() == [digest(b"tool"), "tool"]

    asked.clear()
    assert world.run("tool", capfd)["changed"] is False
    assert world.run("tool", capfd, check=True)["changed"] is False
    assert asked == []


def test_members_of_an_archive(world: World, files: dict[str, bytes], capfd: pytest.CaptureFixture[str]) -> None:
    archive = tarball(tool=b"one", helper=b"two", other=b"three")
    files["/tool.tar.gz"] = archive
    files["/SHA256SUMS"] = f"{'0' * 64}  other.tar.gz\n{digest(archive)}  tool.tar.gz\n".encode()
    world.catalogue = [
        wish_for_files(
            world,
            url=f"http://{world.site}/tool.tar.gz",
            checksum_url=f"http://{world.site}/SHA256SUMS",
            members={"tool": "release/tool", "helper": "release/helper"},
        )
    ]
    assert world.run("tool", capfd)["changed"] is True
    assert (world.cache / "files/tool/1.0/helper").read_bytes() == b"two"
    assert not (world.cache / "files/tool/1.0/other").exists()


def test_a_bundle_of_pinned_files_loses_its_helm_lines(
    world: World, files: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    files["/a.yaml"], files["/b.yaml"] = b"{{- if .x }}\na: 1\n{{- end }}\n", b"b: '{{ kept }}'\n"
    checksums = {name: f"sha256:{digest(files[f'/{name}'])}" for name in ("a.yaml", "b.yaml")}
    wish = wish_for_files(world, bundles={"all.yaml": {"url": f"http://{world.site}/{{file}}", "checksums": checksums}})
    world.catalogue = [wish | {"files": ["all.yaml"]}]
    assert world.run("tool", capfd)["changed"] is True
    assert (world.cache / "files/tool/1.0/all.yaml").read_text(encoding="utf-8") == "a: 1\n---\nb: '{{ kept }}'\n"


def test_a_wrong_checksum_is_refused_and_leaves_nothing(
    world: World, files: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    files["/tool"], files["/helper"] = b"tool", b"tampered"
    sums = {"tool": digest(b"tool"), "helper": digest(b"helper")}
    world.catalogue = [wish_for_files(world, url=f"http://{world.site}/{{file}}", checksums=sums)]
    result = world.run("tool", capfd)
    assert result["failed"] is True
    assert f"{digest(b'helper')} was expected" in result["msg"]
    assert world.leftovers() == []


def test_without_a_checksum_nothing_is_downloaded(
    world: World, files: dict[str, bytes], asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    world.catalogue = [wish_for_files(world, url=f"http://{world.site}/{{file}}")]
    assert "no checksum" in world.run("tool", capfd)["msg"]
    assert asked == []


def wish_for_image(world: World, index: str = "") -> dict[str, Any]:
    return {
        "name": "app",
        "version": "1.0",
        "kind": "image",
        "image": "quay.example/app:v{version}",
        "upstream": {"image": f"{world.upstream_host}/library/app:v{{version}}", "digest": index},
    }


def test_an_image_goes_from_registry_to_registry(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    index = world.upstream.put_image("library/app", "v1.0", b"layer")
    world.catalogue = [wish_for_image(world, index)]
    assert world.run("app", capfd, check=True)["changed"] is True
    assert world.ours.pushed == []

    result = world.run("app", capfd)
    assert result["changed"] is True
    assert world.ours.tagged("quay.example/app", "v1.0") == result["artifact"]["image"]
    assert world.ours.pushed == ["quay.example/app:v1.0"]
    manifest = json.loads(world.ours.blob(result["artifact"]["image"]).read_bytes())
    assert world.ours.blob(manifest["layers"][0]["digest"]).read_bytes() in (b"layeramd64", b"layerarm64")
    assert world.run("app", capfd)["changed"] is False


def test_a_registry_may_send_us_elsewhere_for_its_layers(
    world: World, files: dict[str, bytes], asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the credentials, which are not meant for that place."""
    world.upstream.put_image("library/app", "v1.0", b"layer")
    files |= {f"/sha256:{digest(path.read_bytes())}": path.read_bytes() for path in world.upstream.root.rglob("data")}
    world.upstream.elsewhere = world.site
    world.catalogue = [wish_for_image(world)]
    assert world.run("app", capfd)["changed"] is True
    assert len(asked) == 2


def test_what_the_registry_lost_is_filled_again(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.upstream.put_image("library/app", "v1.0", b"layer")
    world.catalogue = [wish_for_image(world)]
    image = world.run("app", capfd)["artifact"]["image"]
    layer = world.ours.blob(json.loads(world.ours.blob(image).read_bytes())["layers"][0]["digest"])
    layer.write_bytes(b"cut")
    assert world.run("app", capfd, check=True)["diff"]["before"] == "app: missing\n"
    layer.unlink()
    assert world.run("app", capfd)["changed"] is True
    assert layer.stat().st_size == len(b"layeramd64")


def test_a_tag_that_another_checkout_moved_is_moved_back_without_a_copy(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.upstream.put_image("library/app", "v1.0", b"layer")
    world.catalogue = [wish_for_image(world)]
    image = world.run("app", capfd)["artifact"]["image"]
    world.ours.put_image("quay.example/app", "v1.0", b"other")
    world.upstream.token = "nobody gets in now"
    result = world.run("app", capfd)
    assert result["diff"]["before"] == "app: cached\n"
    assert world.ours.tagged("quay.example/app", "v1.0") == image


def test_an_image_of_another_digest_is_refused_and_leaves_nothing(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    index = world.upstream.put_image("library/app", "v1.0", b"layer")
    world.upstream.blob(index).write_bytes(world.upstream.blob(index).read_bytes() + b" ")
    world.catalogue = [wish_for_image(world, index)]
    result = world.run("app", capfd)
    assert result["failed"] is True
    assert f"{index} was expected" in result["msg"]
    assert world.ours.pushed == []
    assert world.leftovers() == []


def test_a_tampered_layer_is_refused_and_leaves_no_tag(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.upstream.put_image("library/app", "v1.0", b"layer")
    for path in world.upstream.root.rglob("data"):
        if path.read_bytes().startswith(b"layer"):
            path.write_bytes(b"tampered")
    world.catalogue = [wish_for_image(world)]
    assert "a layer has the digest" in world.run("app", capfd)["msg"]
    assert world.ours.pushed == []
    assert world.leftovers() == []


def test_an_image_that_does_not_exist_is_named(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.catalogue = [wish_for_image(world)]
    assert "library/app/manifests/v1.0 does not exist" in world.run("app", capfd)["msg"]
