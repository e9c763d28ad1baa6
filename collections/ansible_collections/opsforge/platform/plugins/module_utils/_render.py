# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a report: decide what belongs in it, ask, draw, and put the page in its place as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _slo_panels
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._dashboards import chosen, dashboards
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._files import replacing
from ansible_collections.opsforge.platform.plugins.module_utils._page import page
from ansible_collections.opsforge.platform.plugins.module_utils._panels import Dashboard
from ansible_collections.opsforge.platform.plugins.module_utils._plots import Plotter
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus, server_args
from ansible_collections.opsforge.platform.plugins.module_utils._report import Reporter
from ansible_collections.opsforge.platform.plugins.module_utils._series import Source, Window
from ansible_collections.opsforge.platform.plugins.module_utils._slo import service_mistakes

LOKI_ARGS = server_args("loki", "logging", 3100)
PANELS_MAX = 1500  # a tenth of a second and 20 kilobytes each
_LIMIT = 8 << 20  # bytes of one answer: a hundred series of 241 moments take one and a half million


@dataclass(frozen=True)
class Render:
    """One page to write."""

    params: Mapping[str, Any]
    path: Path
    dashboards: tuple[Dashboard, ...]
    window: Window

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Render:
        """Read the module's parameters. Raises Invalid."""
        path = Path(params["path"])
        if path.is_dir() or not path.parent.is_dir():
            raise Invalid(f"path must name a file in a folder that exists, which {path} does not")
        for name, entry in params["services"].items():
            if mistake := next(service_mistakes(entry), ""):
                raise Invalid(f"service {name}: {mistake}")
        shown = tuple(chosen(dashboards(params["services"], params["namespace"]), params["dashboards"]))
        if (panels := sum(len(list(dashboard.panels)) for dashboard in shown)) > PANELS_MAX:
            raise Invalid(f"a page holds {PANELS_MAX} panels and not {panels}: name some of the dashboards")
        return cls(params, path, shown, Window.of(params["hours"], params["end"]))

    def foreseen(self) -> dict[str, Any]:
        """What would be written."""
        return {
            "path": str(self.path),
            "dashboards": [dashboard.uid for dashboard in self.dashboards],
            "panels": sum(len(list(dashboard.panels)) for dashboard in self.dashboards),
        }

    def run(self, cluster: Cluster) -> dict[str, Any]:
        """Ask, draw and write. Raises Unreachable where no Prometheus answers, NotFound without matplotlib."""
        plotter = Plotter()
        prometheus = Source(Prometheus.of(self.params, cluster, limit=_LIMIT))
        loki = None
        if self.params["loki"]:
            loki = Source.loki(Prometheus.of(self.params, cluster, limit=_LIMIT, title="Loki"))
        reporter = Reporter(prometheus, self.window, self.params["namespace"], loki=loki)
        try:
            report = reporter.look(self.dashboards, [_slo_panels.table()])
        except Unreachable as error:
            raise Unreachable(f"there is nothing to draw a report from: {error}") from error
        content = page(report, self.params["title"], plotter).encode()
        return {
            **self.foreseen(),
            "changed": _write(self.path, content),
            "panels": sum(map(len, report.findings.values())),
            "size": len(content),
            "empty": report.empty,
            "errors": report.failed,
            "notes": list(report.notes),
        }


def _write(path: Path, content: bytes) -> bool:
    """Put the content in the file's place as a whole; tell whether it is another one. Raises Invalid."""
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        # Lines of logs are in it.
        with replacing(path, 0o600) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise Invalid(f"cannot write {path}: {error.strerror or error}") from error
    return True
