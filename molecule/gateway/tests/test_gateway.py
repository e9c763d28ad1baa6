# SPDX-License-Identifier: GPL-3.0-or-later
"""The entrance answers by path, over http and https, to those it is meant for."""

from __future__ import annotations

import datetime
import json
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

if TYPE_CHECKING:
    from conftest import Site

NODE_PORTS = {"http": 30080, "https": 30443}
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "platform", "namespace": "gateway"}
# Says which path it was asked for, and under which name of the host.
ECHO = """
import http.server, json
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "proto": self.headers["x-forwarded-proto"]}).encode())
http.server.ThreadingHTTPServer(("", 8000), Echo).serve_forever()
"""


def port(site: Site, scheme: str) -> int:
    """The entrance's port on this machine."""
    return int(site.published(NODE_PORTS[scheme]).split(":")[1])


def get(site: Site, scheme: str, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    """The status and the body of one answer of the entrance."""
    trust = ssl.create_default_context(cafile=str(site.state_dir / "ca.crt"))
    url = f"{scheme}://{host}:{port(site, scheme)}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5, context=trust if scheme == "https" else None) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def route(site: Site, namespace: str) -> dict[str, Any]:
    """An HTTPRoute that takes this test's path to this test's Service, without the prefix."""
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": site.name, "namespace": namespace},
        "spec": {
            "parentRefs": [GATEWAY],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": f"/{site.name}"}}],
                    "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
                    "backendRefs": [{"group": "", "kind": "Service", "name": site.name, "port": 80}],
                }
            ],
        },
    }


@pytest.mark.parametrize("scheme, host", [("http", "127.0.0.1"), ("https", "127.0.0.1"), ("https", "localhost")])
def test_answers_without_a_route(site: Site, scheme: str, host: str) -> None:
    assert get(site, scheme, "/no-such-path", host)[0] == 404


def test_nobody_trusts_it_without_its_authority(site: Site) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://127.0.0.1:{port(site, 'https')}/", timeout=5)


def test_certificate_lasts_longer_than_until_the_next_renewal(site: Site) -> None:
    served = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port(site, "https"))).encode())
    assert served.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=30)


def test_takes_a_path_to_its_service(site: Site) -> None:
    """As a service joins: Deployment, Service and HTTPRoute in the services' namespace."""
    site.open_network("apps")
    template = site.pod("docker.io/library/python:3.11-slim-bookworm", ["python3", "-c", ECHO])
    template["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
    site.have(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": site.name, "namespace": "apps"},
            "spec": {"replicas": 1, "selector": {"matchLabels": site.labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": site.name, "namespace": "apps"},
            "spec": {"selector": site.labels, "ports": [{"port": 80, "targetPort": 8000}]},
        },
        route(site, "apps"),
    )
    for scheme in ("http", "https"):
        status, body = get(site, scheme, f"/{site.name}/deep/down?x=1")
        assert (status, json.loads(body)) == (200, {"path": "/deep/down?x=1", "proto": scheme})
    assert get(site, "http", f"/{site.name}else")[0] == 404


def test_refuses_routes_of_other_namespaces(site: Site) -> None:
    namespace = site.namespace()
    site.cluster.create(route(site, namespace))

    def answers() -> Any:
        found = site.cluster.get(GATEWAY["group"] + "/v1", "HTTPRoute", site.name, namespace) or {}
        parents = found.get("status", {}).get("parents", [])
        return {one["reason"] for parent in parents for one in parent["conditions"] if one["type"] == "Accepted"}

    assert site.eventually(answers) == {"NotAllowedByListeners"}
    assert get(site, "http", f"/{site.name}/")[0] == 404


def test_proxies_are_held_to_restricted_and_are_scraped(site: Site) -> None:
    namespace = site.cluster.get("v1", "Namespace", "gateway")
    assert namespace and namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    proxies = site.cluster.list("v1", "Pod", "gateway", {"app.kubernetes.io/name": "envoy"})
    assert proxies
    for proxy in proxies:
        assert proxy["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
        for container in proxy["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], container["name"]
            assert container["resources"]["limits"]["memory"], container["name"]


def test_keys_live_in_the_cluster_only(site: Site) -> None:
    texts = [file.read_text(encoding="utf-8") for file in site.state_dir.glob("*.crt")]
    assert texts and not any("PRIVATE KEY" in text for text in texts)
