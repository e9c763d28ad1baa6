# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that ask Prometheus; `module_utils/_prometheus.py` holds their argument spec."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by modules."""

    DOCUMENTATION = r"""
options:
  prometheus_url:
    description: Address of Prometheus. If not given, it is asked through the API server.
    type: str
  prometheus_token:
    description: Bearer token for O(prometheus_url).
    type: str
  prometheus_ca:
    description: File with the certificates that O(prometheus_url) is trusted by. If not given, those of the system.
    type: path
  prometheus_namespace:
    description: Namespace of the Service of Prometheus.
    type: str
    default: monitoring
  prometheus_service:
    description: Name of the Service of Prometheus.
    type: str
    default: prometheus
  prometheus_port:
    description: Port of the Service of Prometheus.
    type: int
    default: 9090
  prometheus_timeout:
    description: How long one query may take, in seconds.
    type: float
    default: 10
"""
