# SPDX-License-Identifier: GPL-3.0-or-later
"""The times that traffic moved from one version to another, and what the clients saw of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks._load import Request
from benchmarks._report import Report, bootstrap_ratio, median, p99


class BenchmarkError(Exception):
    """The switch could not be measured; the text says why."""


@dataclass(frozen=True)
class Move:
    """One time that traffic moved; moments are seconds of the monotonic clock."""

    arm: str
    # Part of the body of each answer of the old and of the new version.
    old: str
    new: str
    decided: float
    watched_until: float
    is_rollback: bool = False


@dataclass
class Seen:
    """What the clients saw of one move; seconds count from the decision."""

    requests: int = 0
    lost: int = 0
    first_new: float | None = None
    last_old: float = 0.0
    # The request that the last old answer was for: it may have left before the decision.
    last: Request | None = None


def see(moves: Sequence[Move], requests: Iterable[Request]) -> list[Seen]:
    """Read from the answers what each of the moves did, which come in their order and never overlap.

    Requests count for the move in whose time they were due. An answer on its way at the decision is the old version's
    good right; the last one still counts. After the watch the traffic moves on, and what was old may be new again.
    """
    decisions = [move.decided for move in moves]
    seen = [Seen() for _ in moves]

    def at(moment: float) -> int | None:
        number = bisect_right(decisions, moment) - 1
        return number if number >= 0 and moment < moves[number].watched_until else None

    for request in requests:
        if (number := at(request.due)) is not None:
            move, one = moves[number], seen[number]
            one.requests += 1
            one.lost += request.is_lost
            if move.new in request.body:
                answered = request.ended - move.decided
                one.first_new = answered if one.first_new is None else min(one.first_new, answered)
        if (number := at(request.ended)) is not None:
            move, one = moves[number], seen[number]
            if move.old in request.body and (one.last is None or request.ended > one.last.ended):
                one.last, one.last_old = request, request.ended - move.decided
    return seen


def record(report: Report, move: Move, seen: Seen) -> None:
    """Add what was seen of a move to the report. Raises BenchmarkError if the traffic never moved."""
    if seen.first_new is None:
        raise BenchmarkError(f"{move.arm}: the new version ({move.new}) never answered")
    report.sample(move.arm, "first_new_seconds", seen.first_new, "s")
    report.sample(move.arm, "last_old_seconds", seen.last_old, "s")
    way = "rollback" if move.is_rollback else "release"
    report.sample(move.arm, f"{way}_last_old_seconds", seen.last_old, "s")
    report.sample(move.arm, "requests", seen.requests, "requests")
    report.sample(move.arm, "lost", seen.lost, "requests")
    if move.is_rollback:
        report.sample(move.arm, "rollback_seconds", seen.first_new, "s")


def summarize(report: Report) -> None:
    """Fill in the summary from the samples."""
    ours = {
        name: report.samples("ours", name) for name in ("first_new_seconds", "last_old_seconds", "rollback_seconds")
    }
    every = [arm for arm in report.arms if report.samples(arm, "requests")]
    report.summary["requests"] = round(sum(report.samples("ours", "requests")))
    report.summary["lost"] = round(sum(report.samples("ours", "lost")))
    report.summary["requests_all_arms"] = round(sum(sum(report.samples(arm, "requests")) for arm in every))
    report.summary["lost_all_arms"] = round(sum(sum(report.samples(arm, "lost")) for arm in every))
    report.summary["first_new_seconds_p50"] = median(ours["first_new_seconds"])
    report.summary["last_old_seconds_p99"] = p99(ours["last_old_seconds"])
    report.summary["rollback_seconds_p50"] = median(ours["rollback_seconds"])
    for key, rival, own, figure in (
        ("kubectl_patch", "kubectl_patch", "ours", "last_old_seconds"),
        ("rolling_update", "rolling_update", "ours", "last_old_seconds"),
        ("kubernetes_core", "kubernetes_core", "ours_ansible", "last_old_seconds"),
        ("argo", "argo", "ours", "last_old_seconds"),
        # One way may be won and the other lost.
        ("argo_release", "argo", "ours", "release_last_old_seconds"),
        ("argo_rollback", "argo", "ours", "rollback_last_old_seconds"),
    ):
        theirs, mine = report.samples(rival, figure), report.samples(own, figure)
        report.summary[f"ratio_vs_{key}"] = bootstrap_ratio(theirs, mine)[0] if theirs and mine else None
