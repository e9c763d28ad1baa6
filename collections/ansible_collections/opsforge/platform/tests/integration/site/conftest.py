# SPDX-License-Identifier: GPL-3.0-or-later
"""Names for platforms that tests ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.opsforge.platform.tests.integration.site.harness import docker_objects


@pytest.fixture
def spare_platform() -> Iterator[str]:
    """The name of a platform that does not exist; the test fails if it does afterwards."""
    name = "opsforge-spare"
    yield name
    left = [made for kind in ("container", "network", "volume") for made in docker_objects(kind, name)]
    assert left == []
