# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role, playbook and scenario promises, so that no room looks different from its neighbours."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

COLLECTION = Path(__file__).parents[2]
CHECKOUT = COLLECTION.parents[3]
ROLES = sorted(path for path in (COLLECTION / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((COLLECTION / "playbooks").rglob("*.yml"))
ROOMS = ["README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"]


class TaggedLoader(yaml.SafeLoader):
    """Reads Ansible's YAML: `!vault` and `!unsafe` are strings here."""


TaggedLoader.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    """The content of a YAML file; an empty mapping for an empty file."""
    return yaml.load(path.read_text(encoding="utf-8"), TaggedLoader) or {}


def is_template(value: Any) -> bool:
    """Whether a default is computed, so that no literal can repeat it."""
    return "{{" in yaml.safe_dump(value)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    def test_has_the_same_rooms_as_its_neighbours(self, role: Path) -> None:
        assert [room for room in ROOMS if not (role / room).is_file()] == []

    def test_specification_equals_defaults(self, role: Path) -> None:
        """Ansible documents the specification's default and uses the other one: they must be the same."""
        defaults = load(role / "defaults/main.yml")
        options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
        optional = {name for name, option in options.items() if not option.get("required")}
        assert optional == set(defaults)
        for name, value in defaults.items():
            if not is_template(value):
                assert options[name].get("default") == value, name

    def test_variables_carry_the_roles_name(self, role: Path) -> None:
        options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
        assert [name for name in options if not name.startswith(f"{role.name}_")] == []

    def test_has_a_scenario(self, role: Path) -> None:
        assert (CHECKOUT / "molecule" / role.name / "molecule.yml").is_file()

    def test_is_described_to_people(self, role: Path) -> None:
        assert f"`{role.name}`" in (CHECKOUT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: playbook.name)
def test_playbook_has_a_doorway(playbook: Path) -> None:
    """Each entry point of the collection can be typed by path from the checkout."""
    assert "-" not in playbook.name, "a dash makes a playbook unreachable by its full name"
    wrapper = CHECKOUT / "playbooks" / playbook.relative_to(COLLECTION / "playbooks")
    name = str(playbook.relative_to(COLLECTION / "playbooks").with_suffix("")).replace("/", ".")
    assert [play["ansible.builtin.import_playbook"] for play in load(wrapper)] == [f"opsforge.platform.{name}"]


def image_defaults() -> list[tuple[str, str]]:
    """Every literal image reference in the defaults of the roles."""
    return [
        (f"{role.name}:{name}", value)
        for role in ROLES
        for name, value in load(role / "defaults/main.yml").items()
        if name.endswith("_image") and isinstance(value, str) and not is_template(value)
    ]


@pytest.mark.parametrize("variable, image", image_defaults(), ids=lambda item: str(item))
def test_image_is_in_the_catalogue(variable: str, image: str) -> None:
    """A role asks only for what the mirror provides: otherwise a site without internet fails half way."""
    catalogue = load(COLLECTION / "roles/mirror/vars/main.yml")["mirror_catalogue"]
    assert image in {
        artifact["image"].replace("{version}", str(artifact["version"]))
        for artifact in catalogue
        if artifact["kind"] == "image"
    }, variable


def test_collection_ships_every_role(tmp_path: Path) -> None:
    """A link in the wrong direction builds without an error and ships nothing, so the tarball is opened."""
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run(
        [galaxy, "collection", "build", COLLECTION, "--output-path", tmp_path], check=True, capture_output=True
    )
    (tarball,) = tmp_path.glob("opsforge-platform-*.tar.gz")
    with tarfile.open(tarball) as archive:
        files = {member.name for member in archive.getmembers() if member.isfile()}
    assert {f"roles/{role.name}/{room}" for role in ROLES for room in ROOMS} - files == set()
    assert {str(playbook.relative_to(COLLECTION)) for playbook in PLAYBOOKS} - files == set()
    assert {name for name in files if name.startswith("tests/")} == set()


def test_every_environment_starts_from_the_shared_values() -> None:
    environments = [path for path in (CHECKOUT / "inventories").iterdir() if path.is_dir()]
    assert environments
    for environment in environments:
        link = environment / "group_vars/all/00_shared.yml"
        assert link.resolve() == CHECKOUT / "group_vars/shared.yml", environment.name
