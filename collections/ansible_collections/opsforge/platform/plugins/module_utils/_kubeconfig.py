# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the API server is and how to log in: a kubeconfig file, or the service account of the pod we run in."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Endpoint:
    """One API server as one caller sees it."""

    url: str
    tls: ssl.SSLContext | None
    tls_server_name: str | None = None
    proxy: str | None = None
    namespace: str = "default"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def load_endpoint(kubeconfig: str | None, context: str | None, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Read the endpoint from the named file, else from where kubectl looks, else from the pod's service account.

    Where kubectl looks: `K8S_AUTH_KUBECONFIG` (as in kubernetes.core), `KUBECONFIG`, `~/.kube/config`.
    Raises NotFound if there is none of them, Invalid if the file or the context in it is unusable.
    """
    paths = _paths(kubeconfig, environ)
    if kubeconfig and not paths[0].is_file():
        raise NotFound(f"the kubeconfig {paths[0]} does not exist")
    paths = [path for path in paths if path.is_file()]
    if paths:
        return _from_files(paths, context or environ.get("K8S_AUTH_CONTEXT"))
    if "KUBERNETES_SERVICE_HOST" in environ and (SERVICE_ACCOUNT / "token").is_file():
        return _from_pod(environ)
    raise NotFound("no kubeconfig: set the option kubeconfig or the environment variable KUBECONFIG")


def _paths(kubeconfig: str | None, environ: Mapping[str, str]) -> list[Path]:
    if kubeconfig:
        return [Path(kubeconfig).expanduser()]
    named = environ.get("K8S_AUTH_KUBECONFIG") or environ.get("KUBECONFIG") or "~/.kube/config"
    return [Path(part).expanduser() for part in named.split(os.pathsep) if part]


def _from_pod(environ: Mapping[str, str]) -> Endpoint:
    host = environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    return Endpoint(
        url=f"https://{host}:{environ.get('KUBERNETES_SERVICE_PORT', '443')}",
        tls=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip(),
        headers={"Authorization": f"Bearer {(SERVICE_ACCOUNT / 'token').read_text().strip()}"},
    )


def _from_files(paths: list[Path], context_name: str | None) -> Endpoint:
    merged = _merge(paths)
    where = ":".join(str(path) for path in paths)
    context_name = context_name or merged["current-context"]
    if not context_name:
        raise Invalid(f"{where} names no current context: set the option context")
    context = _named(merged, "contexts", "context", context_name, where)
    cluster = _named(merged, "clusters", "cluster", context.get("cluster", ""), where)
    user = _named(merged, "users", "user", context["user"], where) if context.get("user") else {}
    if not urlsplit(str(cluster.get("server", ""))).hostname:
        raise Invalid(f"{where}: the cluster of context {context_name} has no usable server address")
    if "exec" in user or "auth-provider" in user:
        return _from_plugin(where, context_name, cluster, context)
    headers = _login_headers(user)
    return Endpoint(
        url=cluster["server"].rstrip("/"),
        tls=_tls(cluster, user, where) if cluster["server"].startswith("https:") else None,
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        namespace=context.get("namespace") or "default",
        headers=headers,
    )


def _merge(paths: list[Path]) -> dict[str, Any]:
    """Merge the files as kubectl does: the first to name a thing wins; relative paths count from their own file."""
    merged: dict[str, Any] = {"current-context": "", "contexts": {}, "clusters": {}, "users": {}}
    for path in paths:
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER) or {}
            merged["current-context"] = merged["current-context"] or content.get("current-context")
            for section, item in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
                for entry in content.get(section) or []:
                    merged[section].setdefault(entry["name"], _absolute(entry.get(item) or {}, path.parent))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            raise Invalid(f"{path} is not a readable kubeconfig ({type(error).__name__})") from error
    return merged


def _absolute(entry: dict[str, Any], base: Path) -> dict[str, Any]:
    files = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return {key: str(base / value) if key in files and value else value for key, value in entry.items()}


def _named(merged: dict[str, Any], section: str, item: str, name: str, where: str) -> dict[str, Any]:
    if name not in merged[section]:
        known = ", ".join(sorted(merged[section])) or "none"
        raise Invalid(f"{where} has no {item} {name} (it has: {known})")
    found: dict[str, Any] = merged[section][name]
    return found


def _login_headers(user: Mapping[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
    token = user.get("token")
    if not token and user.get("tokenFile"):
        token = Path(user["tokenFile"]).read_text(encoding="utf-8").strip()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if user.get("as"):
        headers["Impersonate-User"] = user["as"]
    if user.get("as-groups") or user.get("as-uid") or user.get("as-user-extra"):
        raise Invalid("impersonation of groups, uids or extra fields in a kubeconfig is not supported")
    return headers


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], where: str) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    try:
        context = ssl.create_default_context(
            cafile=None if authority else cluster.get("certificate-authority"),
            cadata=_decode(authority).decode() if authority else None,
        )
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if user.get("client-certificate-data") or user.get("client-certificate"):
            _load_client_certificate(context, user)
    except (OSError, ValueError, KeyError) as error:
        raise Invalid(f"{where}: a certificate or key is unusable ({error})") from error
    return context


def _decode(inline: str) -> bytes:
    return base64.b64decode("".join(inline.split()), validate=True)


def _load_client_certificate(context: ssl.SSLContext, user: Mapping[str, Any]) -> None:
    """Load certificate and key; those written inline pass through a private file, which is all that ssl reads."""
    parts = []
    for kind in ("client-certificate", "client-key"):
        inline = user.get(f"{kind}-data")
        parts.append(_decode(inline) if inline else Path(user[kind]).read_bytes())
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(b"\n".join(parts))
        pem.flush()
        context.load_cert_chain(pem.name)


def _from_plugin(where: str, context_name: str, cluster: Mapping[str, Any], context: Mapping[str, Any]) -> Endpoint:
    """Let the official client run the login plugin; importing it costs 0.25 s, so only for the files that need it."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise Invalid(f"{where} logs in through a plugin, which needs the Python package kubernetes") from error
    settings = client.Configuration()
    try:
        config.load_kube_config(config_file=where, context=context_name, client_configuration=settings)
    except Exception as error:
        raise Invalid(f"{where}: the login plugin of context {context_name} failed ({error})") from error
    user = {"client-certificate": settings.cert_file, "client-key": settings.key_file} if settings.cert_file else {}
    token = settings.auth_settings().get("BearerToken", {}).get("value")
    return Endpoint(
        url=settings.host.rstrip("/"),
        tls=_tls(cluster, user, where) if settings.host.startswith("https:") else None,
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        namespace=context.get("namespace") or "default",
        headers={"Authorization": token} if token else {},
    )
