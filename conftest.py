# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share."""

import sys

# A worker of pytest-xdist has its parent's paths and adds them once more. A collection may be found in one place only:
# Ansible's loader refuses the second.
sys.path[:] = dict.fromkeys(sys.path)
