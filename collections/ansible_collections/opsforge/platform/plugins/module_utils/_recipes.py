# SPDX-License-Identifier: GPL-3.0-or-later
"""How an artifact is built: one function for each recipe of the catalogue, and for what comes from upstream."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._cache import Cache
from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import Artifact, full_name, rebase
from ansible_collections.opsforge.platform.plugins.module_utils._download import Web, download
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._registry import Reference, Registry, copy

LAST_LINES = 8
LAYER_LINE = re.compile(r"^ ---> ([0-9a-f]{12})$", re.MULTILINE)
DANGLING = ("image", "ls", "--quiet", "--filter", "dangling=true")


@dataclass(frozen=True)
class Settings:
    """What of the machine a build depends on."""

    arch: str
    registry: str
    docker: str = "docker"
    network: str = ""
    ca_bundle: str = ""
    go_cache: str = ""
    debian_mirror: str = ""


class Shell:
    """Runs commands, keeps their output in a log, and tells its end when one fails."""

    def __init__(self, title: str, log: Path) -> None:
        self.title, self.log = title, log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def run(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """The command's standard output; PlatformError if the command fails or does not exist."""
        words = [str(word) for word in command]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n")
            log.flush()
            start = log.tell()
            try:
                code = subprocess.run(
                    words,
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
            except FileNotFoundError:
                raise PlatformError(f"{self.title} needs the command {words[0]}, which is not installed.") from None
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            output = log.read()
        if code:
            end = "\n".join(output.strip().splitlines()[-LAST_LINES:])
            raise PlatformError(
                f"{self.title} did not build; the whole output is in {self.log}, and its end is:\n{end}"
            )
        return output


@dataclass(frozen=True)
class Job:
    """One build: `work` is scratch space, `out` the folder to fill with the artifact's files."""

    artifact: Artifact
    catalogue: Mapping[str, Artifact]
    work: Path
    out: Path
    cache: Cache
    settings: Settings
    shell: Shell
    web: Web

    @property
    def wish(self) -> Mapping[str, Any]:
        """The recipe's part of the catalogue."""
        return self.artifact.wish

    @property
    def folder(self) -> Path:
        """The artifact's build folder."""
        if self.artifact.folder is None:
            raise Invalid(f"{self.artifact.name} in the catalogue must name its folder.")
        return self.artifact.folder

    def docker(self, *words: str | Path) -> str:
        """Runs the engine's command line; the classic builder is the one that every engine has."""
        return self.shell.run(self.settings.docker, *words, env={"DOCKER_BUILDKIT": "0"})


def go_environment(settings: Settings) -> dict[str, str]:
    """The variables under which Go gives the same binary everywhere, from the pinned modules and nothing else."""
    variables = {
        "CGO_ENABLED": "0",
        "GOGC": "400",  # memory for time: nearly half of a compile is garbage collection otherwise
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOOS": "linux",
        "GOARCH": settings.arch,
    }
    return variables | ({"GOCACHE": settings.go_cache} if settings.go_cache else {})


def go(job: Job) -> dict[str, Any]:
    """Go commands of a pinned module."""
    _require_go(job)
    job.shell.run(
        "go",
        "build",
        "-trimpath",
        f"-ldflags={' '.join(['-s -w', *job.wish.get('ldflags', [])])}",
        f"-tags={','.join(job.wish.get('tags', []))}",
        "-o",
        f"{job.out}/",
        *job.wish.get("packages", ["tool"]),
        cwd=job.folder,
        env=go_environment(job.settings),
    )
    for made, wanted in job.wish.get("output", {}).items():
        (job.out / made).rename(job.out / wanted)
    return {}


def module(job: Job) -> dict[str, Any]:
    """YAML files that a pinned Go module carries, joined to one file for each bundle."""
    _require_go(job)
    for bundle, part in job.wish["bundles"].items():
        output = job.shell.run(
            "go", "mod", "download", "-json", part["module"], cwd=job.folder, env=go_environment(job.settings)
        )
        home = Path(json.loads(output)["Dir"])
        paths = [path for pattern in part["files"] for path in sorted(home.glob(pattern))]
        if not paths:
            raise Invalid(f"{part['module']} holds no {', '.join(part['files'])}, of which {bundle} is to be made.")
        _join(paths, job.out / bundle)
    return {}


def wheel(job: Job) -> dict[str, Any]:
    """Files out of a Python wheel, pinned by version and hash in the folder's requirements.txt."""
    wheels = job.work / "wheels"
    requirements = job.folder / "requirements.txt"
    job.shell.run(
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--dest", wheels, "--requirement", requirements),
    )
    (archive,) = wheels.glob("*.whl")
    with zipfile.ZipFile(archive) as content:
        for name in job.artifact.files:
            found = [member for member in content.namelist() if fnmatch(member, job.wish["members"][name])]
            if len(found) != 1:
                raise Invalid(f"{archive.name} holds {len(found)} files like {job.wish['members'][name]}, not one.")
            with content.open(found[0]) as source, (job.out / name).open("wb") as sink:
                shutil.copyfileobj(source, sink)
            (job.out / name).chmod(0o755)
    return {}


def debian(job: Job) -> dict[str, Any]:
    """Files out of packages of this machine's Debian archive."""
    root = job.work / "root"
    job.shell.run("apt-get", "download", "-o", "APT::Sandbox::User=root", *job.wish["packages"], cwd=job.work)
    for package in sorted(job.work.glob("*.deb")):
        job.shell.run("dpkg-deb", "--extract", package, root)
    for source, name in job.wish["members"].items():
        shutil.copy2(root / source, job.out / name)
    return {}


def debootstrap(job: Job) -> dict[str, Any]:
    """A minimal Debian tree as a tar archive."""
    root = job.work / "root"
    include = job.wish.get("include", [])
    # In a mount namespace of its own, so that no mount outlives it, whatever ends it.
    job.shell.run(
        *("unshare", "--mount", "debootstrap", f"--arch={job.settings.arch}", f"--variant={job.wish['variant']}"),
        *([f"--include={','.join(include)}"] if include else []),
        *(job.wish["suite"], root, *filter(None, [job.settings.debian_mirror])),
    )
    # Docker gives containers devices of their own.
    job.shell.run(
        "tar", "--numeric-owner", "--exclude=./dev/*", "-C", root, "-cf", job.out / job.artifact.files[0], "."
    )
    return {}


def dockerfile(job: Job) -> dict[str, Any]:
    """An image; its context is the folder, bin/ with the files it is made from, and the host's CA bundle as ca.crt."""
    artifact, settings = job.artifact, job.settings
    context = job.work / "context"
    shutil.copytree(job.folder, context)
    (context / "bin").mkdir(exist_ok=True)
    for name, files in (job.wish.get("from") or {}).items():
        source = job.cache.files(job.catalogue[name])
        for file in files or job.catalogue[name].files:
            os.link(source / file, context / "bin" / file)
    bundle = Path(settings.ca_bundle)
    (context / "ca.crt").write_bytes(bundle.read_bytes() if bundle.is_file() else b"")
    local = {
        full_name(other.image): f"{settings.registry}/{other.image}" for other in job.catalogue.values() if other.image
    }
    recipe = context / "Dockerfile"
    recipe.write_text(rebase(recipe.read_text(encoding="utf-8"), local), encoding="utf-8")
    tag = artifact.image if artifact.local else f"{settings.registry}/{artifact.image}"
    _build_image(job, tag, context)
    if artifact.local:
        job.docker("save", "--output", job.out.parent / "image.tar", tag)
        return {"image": job.docker("image", "inspect", "--format", "{{.Id}}", tag).strip()}
    job.docker("push", tag)
    # The registry has it now; a second copy in the engine would only take room.
    job.docker("image", "rm", tag)
    place = Reference.parse(tag)
    return {"image": Registry(place.host, job.web).manifest(place.repository, place.version).digest}


def upstream(job: Job) -> dict[str, Any]:
    """What upstream publishes, refused unless its checksum or digest is right."""
    artifact, settings = job.artifact, job.settings
    if "bundles" in job.wish:
        for bundle, part in job.wish["bundles"].items():
            paths = [job.work / f"{number}.yaml" for number in range(len(part["checksums"]))]
            for path, (name, digest) in zip(paths, part["checksums"].items(), strict=True):
                job.web.fetch(part["url"].replace("{file}", name), path, digest.removeprefix("sha256:"))
            _join(paths, job.out / bundle)
        return {}
    if artifact.kind == "files":
        download(job.wish, artifact.files, job.out, job.web)
        return {}
    source = Reference.parse(job.wish.get("image") or artifact.image)
    target = Reference.parse(f"{settings.registry}/{artifact.image}")
    digest = copy(source, target, arch=settings.arch, scratch=job.work, web=job.web, digest=job.wish.get("digest", ""))
    return {"image": digest}


RECIPES: dict[str, Callable[[Job], dict[str, Any]]] = {
    recipe.__name__: recipe for recipe in (go, module, wheel, debian, debootstrap, dockerfile, upstream)
}


def go_version(settings: Settings) -> str:
    """The version of the Go that is installed, as go1.26.8; empty if there is none."""
    try:
        done = subprocess.run(
            ["go", "env", "GOVERSION"],
            env={**os.environ, **go_environment(settings)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip()


def go_refusal(artifact: Artifact, have: str) -> str:
    """Why that Go can't build the artifact, in one sentence; empty if it can."""
    text = (artifact.folder / "go.mod").read_text(encoding="utf-8") if artifact.folder else ""
    found = re.search(r"^go (\S+)$", text, re.MULTILINE)
    wanted = found[1] if found else "1.0"
    if not have:
        return (
            f"{artifact.title} is built from source with Go {wanted} or newer, which is not installed: "
            "install it, or set mirror_source to upstream."
        )
    if not is_newer_or_same(have, wanted):
        return f"{artifact.title} needs Go {wanted} or newer, and {have} is installed."
    return ""


def refusal(artifacts: Iterable[Artifact], settings: Settings) -> str:
    """Why one of the artifacts can't be built here, in one sentence; empty if all can."""
    artifacts = list(artifacts)
    of_go = [artifact for artifact in artifacts if artifact.recipe in ("go", "module")]
    have = go_version(settings) if of_go else ""
    reasons = [go_refusal(artifact, have) for artifact in of_go]
    if os.geteuid() != 0:
        reasons += [
            f"{artifact.title} is made by debootstrap, which needs root."
            for artifact in artifacts
            if artifact.recipe == "debootstrap"
        ]
    return next(filter(None, reasons), "")


def is_newer_or_same(have: str, want: str) -> bool:
    """Whether Go `have` (go1.26.8) can build a module whose go.mod says `want` (1.26.0)."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text.partition("-")[0])]

    return numbers(have) >= numbers(want)


def _require_go(job: Job) -> None:
    refused = go_refusal(job.artifact, go_version(job.settings))
    if refused:
        raise PlatformError(refused)


def _join(paths: Iterable[Path], bundle: Path) -> None:
    """Make one YAML stream; lines that are only a Helm action go, since upstreams wrap whole files in one condition."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    documents = ["".join(line for line in text.splitlines(True) if not _is_helm_action(line)) for text in texts]
    bundle.write_text("---\n".join(documents), encoding="utf-8")


def _is_helm_action(line: str) -> bool:
    return line.lstrip().startswith("{{") and line.rstrip().endswith("}}")


def _build_image(job: Job, tag: str, context: Path) -> None:
    """Build under the tag, and drop the layers of earlier stages, which the classic builder leaves behind."""
    network = ["--network", job.settings.network] if job.settings.network else []
    proxies = [
        word
        for name in ("http_proxy", "https_proxy", "no_proxy")
        if name in os.environ
        for word in ("--build-arg", name)
    ]
    before = set(job.docker(*DANGLING).split())
    try:
        job.docker(
            *("build", "--pull", "--force-rm", "--tag", tag, "--build-arg", f"VERSION={job.artifact.version}"),
            *(
                "--label",
                f"opsforge.dev/artifact={job.artifact.name}",
                "--label",
                f"opsforge.dev/key={job.artifact.key}",
            ),
            *network,
            *proxies,
            context,
        )
    finally:
        ours = set(LAYER_LINE.findall(job.shell.log.read_text(encoding="utf-8", errors="replace")))
        left = (set(job.docker(*DANGLING).split()) - before) & ours
        if left:
            job.docker("image", "rm", *sorted(left))
