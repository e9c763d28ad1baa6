# SPDX-License-Identifier: GPL-3.0-or-later
"""A storm of log-ins: more passwords to check than the cores can hash. What do the other callers notice?"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._load import Load
from benchmarks._process import service
from benchmarks._report import Report, median, p99
from benchmarks._servers import postgresql, redis

# Of GET /me: what others ask while the storm blows.
RATE = 100.0
# Log-ins a second; two cores hash some 40.
LOGINS = 120.0
TURNS = 3


def storm(report: Report, folder: Path, *, seconds: float) -> None:
    """Measure `GET /me` without and with a storm, in turns, and fill in `p99_ratio_in_login_storm`."""
    with postgresql() as database, redis() as store:
        settings = {
            "database_url": database,
            "redis_url": f"{store}/0",
            "signing_secret": secrets.token_hex(32),
            # What is measured is the hashing pool, not the limits in front of it.
            "client_logins_per_minute": 0,
            "client_signups_per_minute": 0,
            "account_logins_per_hour": 0,
            "lockout_failures": 1000,
        }
        with service("auth", folder / "auth.log", settings) as auth:
            credentials = {"email": "storm@example.org", "password": secrets.token_urlsafe(16)}
            _post(f"{auth.url}/signup", credentials)
            token = _post(f"{auth.url}/login", credentials)["access_token"]
            for turn in range(TURNS * 2):
                arm = ("quiet", "storm")[turn % 2]
                _measure(report, arm, auth.url, token, credentials, folder / f"{arm}.load", seconds)
    quiet, stormy = report.samples("quiet", "me_seconds"), report.samples("storm", "me_seconds")
    report.summary["p99_ratio_in_login_storm"] = p99(stormy) / p99(quiet)
    report.summary["p50_ratio_in_login_storm"] = median(stormy) / median(quiet)


def _measure(
    report: Report, arm: str, url: str, token: str, credentials: Mapping[str, str], log: Path, seconds: float
) -> None:
    with Load(f"{url}/me", RATE, seconds, log, headers={"Authorization": f"Bearer {token}"}) as load:
        if arm == "storm":
            for status, count in asyncio.run(_log_in(url, credentials, seconds - 1)).items():
                report.sample(arm, f"logins_{status}", count, "requests")
        while load.is_running:
            time.sleep(0.1)
        requests = list(load.requests())
    lost = [request for request in requests if request.is_lost]
    report.sample(arm, "me_lost", len(lost), "requests")
    for request in requests:
        report.sample(arm, "me_seconds", request.ended - request.due, "s")
    print(f"{arm}: {len(requests)} of /me, {len(lost)} lost", file=sys.stderr, flush=True)


async def _log_in(url: str, credentials: Mapping[str, str], seconds: float) -> dict[int, int]:
    """Send log-ins at their rate, whatever becomes of the earlier ones; returns how many had each status."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(dict(credentials)).encode()
    head = "POST /login HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    seen: dict[int, int] = {}

    async def one() -> None:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request)
            status = int((await reader.readline()).split()[1])
            await reader.read()
            writer.close()
        except (OSError, IndexError):
            status = 0
        seen[status] = seen.get(status, 0) + 1

    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * LOGINS)):
            await asyncio.sleep(max(0.0, start + number / LOGINS - time.monotonic()))
            group.create_task(one())
    return seen


def _post(url: str, body: Mapping[str, str]) -> dict[str, Any]:
    content = json.dumps(dict(body)).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
