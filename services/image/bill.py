# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the bill of materials of the image this runs in, CycloneDX 1.6: what is installed, and not what was asked for.

python3 bill.py <name> <version>
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def python_component(found: Distribution) -> Component:
    """Describe an installed Python distribution."""
    name = re.sub(r"[-_.]+", "-", found.name).lower()
    described: Component = {"type": "library", "name": name, "version": found.version}
    described["purl"] = described["bom-ref"] = f"pkg:pypi/{name}@{quote(found.version)}"
    # Older packages keep a whole text, or nothing, where the expression belongs.
    if "License-Expression" in found.metadata:
        described["licenses"] = [{"expression": found.metadata["License-Expression"]}]
    return described


def debian_components(release: dict[str, str]) -> list[Component]:
    """Describe the installed Debian packages."""
    layout = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={layout}"], check=True, capture_output=True, text=True
    ).stdout
    return [
        debian_component(name, version, architecture, release)
        for name, version, architecture, status in (line.split("\t") for line in listed.splitlines())
        if status == "installed"
    ]


def debian_component(name: str, version: str, architecture: str, release: dict[str, str]) -> Component:
    """Describe one Debian package."""
    distribution = f"{release['ID']}-{release.get('VERSION_ID', '')}"
    purl = f"pkg:deb/{release['ID']}/{name}@{quote(version, safe='')}?arch={architecture}&distro={distribution}"
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def interpreter() -> Component:
    """Describe Python itself, which an image may bring without a package."""
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {"type": "platform", "name": "python", "version": version, "purl": purl, "bom-ref": purl}


def bill(name: str, version: str, components: Iterable[Component]) -> dict[str, Any]:
    """Put the document together; the same content gives the same bytes."""
    sorted_components = sorted(components, key=lambda component: str(component["bom-ref"]))
    subject = {"type": "application", "name": name, "version": version, "bom-ref": f"{name}@{version}"}
    content = json.dumps([subject, sorted_components], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {"component": subject},
        "components": sorted_components,
        "dependencies": [{"ref": subject["bom-ref"], "dependsOn": [part["bom-ref"] for part in sorted_components]}],
    }


def main() -> None:
    """Print the bill of this image."""
    name, version = sys.argv[1:]
    release = platform.freedesktop_os_release()
    components = [*map(python_component, distributions()), *debian_components(release), interpreter()]
    json.dump(bill(name, version, components), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
