# SPDX-License-Identifier: GPL-3.0-or-later
"""The arms of the queue benchmark: a script each, run by the interpreter that has the library.

`fill N` adds N trivial jobs, `work` runs one worker until told to stop, both on the Redis of $QUEUE_REDIS. Environment
$QUEUE_WAY names the settings. The job `count` of the kill runs takes a moment and raises a counter of its own by one.
"""
