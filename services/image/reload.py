# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a service from a checkout, and start it again whenever one of its source files changes.

python3 reload.py <folder of the sources> <module> [<argument>...]

For a developer's inner loop only. With SIGTERM the service ends in order and this with it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 1.0


def newest(folders: list[Path]) -> float:
    """Return when the newest source file was written."""
    return max(path.stat().st_mtime for folder in folders for path in folder.rglob("*.py"))


def main() -> int:
    """Migrate, serve, and again; returns the service's exit status when it ends by itself or is told to."""
    root, module, *arguments = sys.argv[1:]
    folders = [Path(root, "kit"), Path(root, module)]
    running: subprocess.Popen[bytes] | None = None

    def stop(_number: int, _frame: FrameType | None) -> None:
        if running:
            running.terminate()
            running.wait()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        seen = newest(folders)
        # Nobody can go back to another version here.
        subprocess.run([sys.executable, "-m", module, "migrate", "--contract"], check=False)
        running = subprocess.Popen([sys.executable, "-m", module, *arguments])
        # A service that can't start waits for the change that lets it.
        while newest(folders) == seen:
            time.sleep(LOOK_SECONDS)
        print(f"reload: the sources of {module} changed", flush=True)
        running.terminate()
        running.wait()


if __name__ == "__main__":
    sys.exit(main())
