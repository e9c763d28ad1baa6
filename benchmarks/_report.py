# SPDX-License-Identifier: GPL-3.0-or-later
"""The one form every benchmark reports in: samples by arm and figure, a summary, a table, a JSON file.

A benchmark records what it measured (`sample`), sets the flat `summary` keys and says why an arm did not
run (`skip`). `finish` prints the table and writes `benchmarks/results/<name>.json`.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import random
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / "benchmarks" / "results"

Number = float | int
Statistic = Callable[[Sequence[float]], float]


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample with at least `share` (0 to 1) of all samples at or below it (nearest rank).

    Nearest rank never invents a value between two samples, so a p99 of few samples is their maximum.
    """
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("a percentile needs at least one sample")
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def median(samples: Sequence[float]) -> float:
    """The middle of the samples."""
    return statistics.median(samples)


def p99(samples: Sequence[float]) -> float:
    """The nearest-rank 99th percentile."""
    return percentile(samples, 0.99)


def _interval(estimates: list[float], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    return percentile(estimates, tail), percentile(estimates, 1 - tail)


def bootstrap_interval(
    samples: Sequence[float],
    statistic: Statistic = median,
    *,
    confidence: float = 0.95,
    rounds: int = 1000,
    seed: int = 1,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic; the same samples always give the same interval."""
    draw = random.Random(seed)
    return _interval([statistic(draw.choices(samples, k=len(samples))) for _ in range(rounds)], confidence)


def bootstrap_ratio(
    theirs: Sequence[float],
    ours: Sequence[float],
    statistic: Statistic = median,
    *,
    confidence: float = 0.95,
    rounds: int = 1000,
    seed: int = 1,
) -> tuple[float, float, float]:
    """(ratio, low, high) of theirs over ours; above 1 means that ours took less."""
    draw = random.Random(seed)
    estimates = [
        statistic(draw.choices(theirs, k=len(theirs))) / statistic(draw.choices(ours, k=len(ours)))
        for _ in range(rounds)
    ]
    return statistic(theirs) / statistic(ours), *_interval(estimates, confidence)


@dataclass
class Figure:
    """The samples of one figure of one arm, all in `unit`."""

    unit: str
    samples: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Number | str | list[float]]:
        """What the JSON form holds of a figure; `interval` is the median's bootstrap interval."""
        return {
            "median": median(self.samples),
            "p99": p99(self.samples),
            "n": len(self.samples),
            "unit": self.unit,
            "interval": list(bootstrap_interval(self.samples)),
        }


class NothingToAddToError(Exception):
    """No earlier run left results."""


@dataclass
class Report:
    """All that one run of one benchmark found."""

    name: str
    arms: dict[str, dict[str, Figure]] = field(default_factory=dict)
    summary: dict[str, Number | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    # Where an extra, unmeasured run of an arm spent its time: lines for people, the largest first.
    profiles: dict[str, list[str]] = field(default_factory=dict)

    def sample(self, arm: str, figure: str, value: float, unit: str) -> None:
        """Add one sample; a figure keeps the unit that it began with."""
        known = self.arms.setdefault(arm, {}).setdefault(figure, Figure(unit))
        if known.unit != unit:
            raise ValueError(f"{arm} {figure} is in {known.unit}, not in {unit}")
        known.samples.append(value)

    def samples(self, arm: str, figure: str) -> list[float]:
        """The samples so far; empty for an arm that did not run."""
        known = self.arms.get(arm, {}).get(figure)
        return list(known.samples) if known else []

    def resume(self, results: Path = RESULTS) -> None:
        """Go on from what an earlier run left there: it takes longer than one sitting. Raises NothingToAddToError."""
        path = results / f"{self.name}.json"
        if not path.exists():
            raise NothingToAddToError(f"there is no {path} to add to")
        self.add(json.loads(path.read_text(encoding="utf-8")))

    def add(self, known: Mapping[str, Any]) -> None:
        """Have the samples of another run's document, too."""
        for arm, figures in known["samples"].items():
            for name, values in figures.items():
                for value in values:
                    self.sample(arm, name, value, known["arms"][arm][name]["unit"])

    def skip(self, arm: str, why: str) -> None:
        """Say why an arm did not run; its keys in the summary are null."""
        self.skipped[arm] = why

    def document(self) -> dict[str, object]:
        """The report in the form that every benchmark shares, with the raw samples last."""
        return {
            "name": self.name,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "arms": {
                arm: {name: figure.document() for name, figure in figures.items()} for arm, figures in self.arms.items()
            },
            "summary": self.summary,
            "skipped": self.skipped,
            "profiles": self.profiles,
            "samples": {
                arm: {name: figure.samples for name, figure in figures.items()} for arm, figures in self.arms.items()
            },
        }

    def table(self) -> str:
        """The figures side by side, then the summary, then what was skipped and why."""
        rows = [("arm", "figure", "median", "p99", "n", "unit", "95% of the median")]
        for arm, figures in self.arms.items():
            for name, figure in figures.items():
                low, high = bootstrap_interval(figure.samples)
                rows.append(
                    (
                        arm,
                        name,
                        _short(median(figure.samples)),
                        _short(p99(figure.samples)),
                        str(len(figure.samples)),
                        figure.unit,
                        f"{_short(low)} to {_short(high)}",
                    )
                )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append("")
        lines += [f"{key} = {'-' if value is None else _short(value)}" for key, value in self.summary.items()]
        lines += [f"skipped {arm}: {why}" for arm, why in self.skipped.items()]
        for arm, spent in self.profiles.items():
            lines += ["", f"where {arm} spends its time:", *(f"  {line}" for line in spent)]
        return "\n".join(lines)

    def write(self, results: Path = RESULTS) -> Path:
        """Write `<results>/<name>.json` whole or not at all."""
        results.mkdir(parents=True, exist_ok=True)
        path = results / f"{self.name}.json"
        half = path.with_suffix(".json.new")
        half.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")
        half.replace(path)
        return path

    def finish(self, results: Path = RESULTS) -> Path:
        """Print the table, write the file, and name it."""
        path = self.write(results)
        print(f"\n{self.table()}\n\n{path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path}")
        return path


def _short(value: Number) -> str:
    """A number a person can compare: whole ones in full, others to four significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def machine() -> dict[str, int]:
    """Cores this process may use, and the memory of the machine in bytes."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def commit(environ: Mapping[str, str] = os.environ) -> str | None:
    """The commit that was measured, `-dirty` when the checkout differs from it; None outside a git checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=CHECKOUT,
        env={**environ, "GIT_OPTIONAL_LOCKS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
