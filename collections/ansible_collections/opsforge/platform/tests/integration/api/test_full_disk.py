# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full under Prometheus: the dead man's switch falls silent, and what is lost is told afterwards."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from .control_plane import free_ports
from .patience import eventually
from .prometheus import Asked, prometheus

RULES = Path(__file__).parents[3] / "roles/monitoring/files/rules/alerts_monitoring.yml"
# Prometheus sets 128 MiB aside at once for what it maps.
ROOM = "192m"
FRESH, FRESH_HERE = "< 120", "< 5"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_loses_what_it_kept_out_and_says_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    data = tmp_path / "data"
    data.mkdir()
    rules = RULES.read_text(encoding="utf-8")
    assert FRESH in rules
    (tmp_path / "rules.yml").write_text(rules.replace(FRESH, FRESH_HERE), encoding="utf-8")
    itself = {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(tmp_path / "rules.yml")],
        "scrape_configs": [itself],
    }
    # A disk that nobody but this one process sees, and that goes with it.
    mount = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size={ROOM} small "$0" && exec "$@"', str(data))
    with prometheus(tmp_path, port, config, within=mount) as process:
        asked = Asked(port)
        filling = Path(f"/proc/{process.pid}/root{data}/filling")
        eventually(lambda: (asked.number("count_over_time(up[10m])") or 0) > 5, hope="it scrapes")
        eventually(lambda: "Watchdog" in asked.firing(), hope="the dead man's switch is heard")

        with filling.open("wb") as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(2**20))
                file.flush()
        kept = f"count_over_time(up[10m] @ {time.time():.3f})"
        eventually(lambda: "Watchdog" not in asked.firing(), hope="the dead man's switch falls silent")
        before = asked.number(kept)
        assert before and before > 5, "what it has is answered"
        assert "no space left on device" in (tmp_path / "log").read_text(encoding="utf-8")

        filling.unlink()
        eventually(lambda: "Watchdog" in asked.firing(), hope="it goes on by itself")
        eventually(lambda: "PrometheusStorageFailing" in asked.firing(), hope="the loss is told")
        assert asked.number(kept) == before, "nothing else was lost"
