# SPDX-License-Identifier: GPL-3.0-or-later
"""A database changes under the traffic of its service: first it grows, and it shrinks when nobody can go back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._wait import wait_ready
from benchmarks._load import Load

if TYPE_CHECKING:
    from conftest import Flaw, Service

pytestmark = pytest.mark.thorough
FOLDER = "catalog/migrations/versions"
REVISION = '''"""{what}"""

from __future__ import annotations

from alembic import op

revision = "{number:04}"
down_revision = "{before:04}"
{phase}

def upgrade() -> None:
    """Change the products."""
    op.execute("ALTER TABLE {up}")


def downgrade() -> None:
    """Change them back."""
    op.execute("ALTER TABLE {down}")
'''
QUICK = {"service_gate": False}


def revision(number: int, up: str, down: str, phase: str = "") -> dict[str, str]:
    text = REVISION.format(what="A test.", number=number, before=number - 1, up=up, down=down, phase=phase)
    return {f"{FOLDER}/{number:04}_test.py": text}


@pytest.fixture
def newest() -> int:
    """The number of the newest revision that the sources have."""
    folder = Path(__file__).parents[3] / "services" / FOLDER
    return max(int(path.name[:4]) for path in folder.glob("[0-9]*.py"))


def jobs(catalog: Service) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": "catalog", "app.kubernetes.io/component": "migrations"}
    found = catalog.site.cluster.list("batch/v1", "Job", "apps", labels)
    return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]))


def held(catalog: Service) -> tuple[object, ...]:
    """Where traffic is, how it came there, and what the slots hold; how many pods of it is the autoscaler's to say."""
    state = catalog.state()
    slots = {slot.name: (slot.version, slot.image) for slot in state.slots.values()}
    return state.active, len(state.history), slots


@pytest.fixture
def home(catalog: Service, flaw: Flaw, newest: int) -> Iterator[tuple[str, str]]:
    """The slot and version in use; afterwards the service is there again, and its database at its revision."""
    slot, version = catalog.serving()
    before = {job["metadata"]["name"] for job in jobs(catalog)}
    yield slot, version
    run = [job for job in jobs(catalog) if job["metadata"]["name"] not in before]
    if not run:
        return
    # The version in use knows all that was run; if none came that far, the last one that tried does.
    serving = catalog.state().serving
    assert serving is not None
    tried = run[-1]["spec"]["template"]["spec"]["containers"][0]["image"]
    go_down(catalog, run[-1], tried if serving.version == version else serving.image, f"{newest:04}")
    if catalog.serving() == (slot, version):
        return
    if catalog.serving()[0] == slot:
        catalog.done("release", version=f"{version}-between", **QUICK)
    catalog.done("release", version=version, **QUICK)
    assert catalog.serving() == (slot, version)


def go_down(catalog: Service, job: dict[str, Any], image: str, to: str) -> None:
    """Undo the revisions after this one, by a Job like that."""
    spec = copy.deepcopy(job["spec"])
    del spec["selector"]
    spec["template"]["metadata"]["labels"] = {"app.kubernetes.io/name": "catalog"}
    spec["template"]["spec"]["containers"][0] |= {"image": image, "args": ["migrate", "--down", "--to", to]}
    metadata = {"name": "catalog-down", "namespace": "apps"}
    down = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    catalog.site.made.append(catalog.site.cluster.create(down))
    wait_ready(catalog.site.cluster, [down], 60)


def test_a_database_grows_under_load_and_shrinks_when_no_slot_is_kept(
    catalog: Service, flaw: Flaw, home: tuple[str, str], people: Load, newest: int
) -> None:
    grown = revision(newest + 1, "products ADD COLUMN note text", "products DROP COLUMN note")
    broken = revision(newest + 2, "nobody ADD COLUMN note text", "nobody DROP COLUMN note")
    shrunk = revision(newest + 2, "products DROP COLUMN note", "products ADD COLUMN note text", 'phase = "contract"\n')

    more = flaw("more", grown)
    catalog.done("release", version=more, **QUICK)
    assert catalog.serving()[1] == more
    (job,) = jobs(catalog)[-1:]
    assert job["status"]["succeeded"] == 1

    bad = flaw("bad", broken)
    before = held(catalog)
    said = (
        f"the migrations of catalog {bad} did not run to their end, so traffic stays where it is",
        "migration failed",
    )
    catalog.refused("release", *said, 'relation "nobody" does not exist', version=bad, **QUICK)
    assert held(catalog) == before

    less = flaw("less", shrunk)
    said_of = catalog.done("release", version=less, **QUICK)
    assert f"catalog {less} has contracts ({newest + 2:04})" in " ".join(said_of.split())
    catalog.refused("contract", f"({more}) is kept for a rollback until", "contract_approved_by")
    assert catalog.state().slots[catalog.idle()].replicas
    catalog.done("contract", contract_approved_by="a colleague")
    assert not catalog.state().slots[catalog.idle()].replicas
    assert "ran nothing" in catalog.done("contract")

    # What needs the column gets no traffic any more, on either way.
    refusal = f"the contract {newest + 2:04} of a newer version has been run"
    catalog.refused("release", refusal, version=more, **QUICK)
    catalog.refused("rollback", refusal)
    assert catalog.serving()[1] == less

    requests = list(people.requests())
    assert len(requests) > 1000
    assert [request.line() for request in requests if request.is_lost] == []
