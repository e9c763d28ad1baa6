# SPDX-License-Identifier: GPL-3.0-or-later
"""Send load to the shop of a local platform, through its entrance, and judge the answers by thresholds.

`python -m loadtests catalog --profile spike` runs the k6 script of that name with that profile. `python -m loadtests
people` runs people who think before they click, with Locust. The status is 0 if every threshold held, 99 (k6) or 1
(Locust) if one did not. Load goes to loopback only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks._rivals import RivalsMissing, python
from loadtests.entrance import NoEntrance, entrance

HERE = Path(__file__).parent
PEOPLE = "people"
PROFILES = ("smoke", "load", "spike", "stress", "breakpoint", "endurance")


class NoProgram(Exception):
    """What sends the load is not there; the text says how to have it."""


def scripts() -> list[str]:
    """Names of the k6 scripts."""
    return sorted(path.stem for path in HERE.glob("*.js"))


def k6(script: str, profile: str, base: str) -> list[str]:
    """The command that runs a script. Raises NoProgram."""
    cache = Path(os.environ.get("OPSFORGE_CACHE") or "~/.cache/opsforge").expanduser()
    found = sorted(cache.glob("files/k6/*/k6"))
    if not found:
        raise NoProgram("there is no k6 in the mirror (make site)")
    # It would send usage figures home.
    settings = ["--no-usage-report", "--quiet", "-e", f"PROFILE={profile}", "-e", f"BASE_URL={base}"]
    return [str(found[-1]), "run", *settings, str(HERE / f"{script}.js")]


def locust(people: int, seconds: int, base: str) -> list[str]:
    """The command that lets people walk."""
    shape = ["--users", str(people), "--spawn-rate", "2", "--run-time", f"{seconds}s", "--stop-timeout", "60"]
    quiet = ["--headless", "--only-summary"]
    return [str(python("people")), "-m", "locust", *quiet, *shape, "--host", base, "-f", str(HERE / "locustfile.py")]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("script", choices=[*scripts(), PEOPLE], help="who is asked, or `people`")
    parser.add_argument("--profile", choices=PROFILES, default="smoke", help="how hard and how long (default: smoke)")
    parser.add_argument("--people", type=int, default=10, help="with `people`: how many (default: 10)")
    parser.add_argument("--seconds", type=int, default=60, help="with `people`: how long (default: 60)")
    parser.add_argument("--url", help="the shop's entrance; by default that of the platform OPSFORGE_PLATFORM names")
    return parser.parse_args()


def main() -> int:
    """Run what the command line says."""
    chosen = options()
    try:
        base = chosen.url or f"http://{entrance(os.environ.get('OPSFORGE_PLATFORM') or 'opsforge')}"
        if chosen.script == PEOPLE:
            command = locust(chosen.people, chosen.seconds, base)
        else:
            command = k6(chosen.script, chosen.profile, base)
    except (NoEntrance, NoProgram, RivalsMissing) as error:
        print(error, file=sys.stderr)
        return 2
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
