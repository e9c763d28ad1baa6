#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Becomes the Redis server as its own user, or whatever command was asked for.
set -eu

# Options or a configuration file alone are meant for the server.
case "${1:-}" in
  -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    chown -R redis:redis .
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
  fi
  # A server without a configuration serves whoever reaches the container, as upstream's image does.
  case "${2:-}" in
    *.conf) ;;
    *) set -- "$@" --protected-mode no ;;
  esac
fi
exec "$@"
