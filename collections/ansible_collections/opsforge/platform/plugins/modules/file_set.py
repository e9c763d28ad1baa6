#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_files.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: A set of files on a host is as written, or as downloaded
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Writes text files and verified downloads in one go, each by one rename, so that no file is ever seen half-written.
  - A download is not repeated while its URL, its size and its time stay as they were.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tells what would be written.
  diff_mode:
    support: full
    description: Shows one diff a file; for a download the URL it came from.
  idempotent:
    support: full
    description: Does nothing when every file is as wished.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where the file belongs. Missing folders are made.
        type: path
        required: true
      mode:
        description: Permissions, as octal text.
        type: str
        default: "0644"
      content:
        description: The file's text. Give this or O(files[].url).
        type: str
      url:
        description: Where the file, or a tar archive that holds it, is downloaded from.
        type: str
      checksum_url:
        description:
          - Where the download's SHA-256 is published, alone or before a name.
          - Default is O(files[].url) with C(.sha256).
        type: str
      member:
        description: The file's name in the archive at O(files[].url).
        type: str
  record:
    description: File in which downloads are remembered.
    type: path
    default: /var/lib/opsforge/files.json
  timeout:
    description: Seconds without an answer after which a download has failed.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Have the runtime and its settings
  opsforge.platform.file_set:
    files:
      - path: /usr/local/bin/containerd
        url: http://192.0.2.3:8080/containerd/2.2.9/containerd
        mode: "0755"
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'containerd.toml.j2') }}"
  notify: Restart containerd
"""

RETURN = r"""
paths:
  description: The files that were, or in check mode would be, written.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path
from typing import BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.opsforge.platform.plugins.module_utils import _files
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError

FILE_OPTIONS = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "content": {"type": "str"},
    "url": {"type": "str"},
    "checksum_url": {"type": "str"},
    "member": {"type": "str"},
}


def main() -> None:
    """Plan, act unless in check mode, and answer."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS},
            "record": {"type": "path", "default": "/var/lib/opsforge/files.json"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    record_path = Path(module.params["record"])

    def opener(url: str) -> BinaryIO:
        return open_url(url, timeout=module.params["timeout"])

    try:
        record = _files.load_record(record_path)
        plan = _files.plan([_files.FileWish.parse(entry) for entry in module.params["files"]], record, opener)
        if (plan.steps or plan.unrecorded) and not module.check_mode:
            _files.apply(plan, record, opener)
            if record:
                _files.save_record(record_path, record)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(plan.steps), diff=plan.diff, paths=[step.wish.path for step in plan.steps])


if __name__ == "__main__":
    main()
