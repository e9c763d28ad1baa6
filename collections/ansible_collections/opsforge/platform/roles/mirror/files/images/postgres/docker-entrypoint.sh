#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the database cluster in an empty PGDATA as the environment asks, then becomes the server.
set -euo pipefail

# setting NAME DEFAULT: the value of NAME, or the content of the file that NAME_FILE names.
setting() {
  local file="${1}_FILE"
  if [[ -n ${!file:-} && -n ${!1:-} ]]; then
    echo "Set $1 or $file, not both." >&2
    exit 1
  fi
  if [[ -n ${!file:-} ]]; then
    cat "${!file}"
  else
    printf '%s' "${!1:-$2}"
  fi
}

# The cluster is made in a folder of its own that is gone when the cluster is whole: what stands beside the folder
# was left by an interruption.
making="$PGDATA/.making"

make_room() {
  local found
  found=$(find "$PGDATA" -mindepth 1 -maxdepth 1 -not -name lost+found)
  if [[ -n $found && ! -e $making ]]; then
    echo "$PGDATA holds files, but no database cluster: give PGDATA an empty directory." >&2
    exit 1
  fi
  find "$PGDATA" -mindepth 1 -maxdepth 1 -not -name lost+found -not -path "$making" -exec rm -rf {} +
  rm -rf "$making"
  mkdir -m 0700 "$making"
}

create_cluster() {
  local user password database method
  user=$(setting POSTGRES_USER postgres)
  password=$(setting POSTGRES_PASSWORD "")
  database=$(setting POSTGRES_DB "$user")
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [[ -z $password && $method != trust ]]; then
    echo "Set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE: the new database cluster's superuser needs a password." >&2
    exit 1
  fi

  local options=(--username="$user" --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256)
  if [[ -n $password ]]; then
    exec 3<<<"$password"
    options+=(--pwfile=/dev/fd/3)
  fi
  # The variable holds several quoted words by its contract.
  eval 'initdb "${options[@]}" --pgdata="$making" '"${POSTGRES_INITDB_ARGS:-}"
  exec 3<&-
  printf '\nhost all all all %s\n' "$method" >> "$making/pg_hba.conf"

  # Nobody else can connect before the cluster is complete: the temporary server listens on its socket only.
  pg_ctl --pgdata="$making" --options="-c listen_addresses=''" --wait start
  export PGHOST=/var/run/postgresql PGUSER="$user"
  if [[ $database != postgres ]]; then
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=name="$database" --dbname=postgres <<<'CREATE DATABASE :"name";'
  fi
  run_scripts "$database"
  unset PGHOST PGUSER
  pg_ctl --pgdata="$making" --mode=fast --wait stop
  mv "$making"/* "$PGDATA"/
  rmdir "$making"
}

run_scripts() {
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname="$1" --file="$script" ;;
      *.sql.gz) gunzip --stdout "$script" | psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname="$1" ;;
    esac
  done
}

# Options alone are meant for the server.
[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

if [[ $(id -u) == 0 ]]; then
  install -d -m 0700 -o postgres -g postgres "$PGDATA"
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

install -d -m 0700 "$PGDATA"
chmod 0700 "$PGDATA"
if [[ ! -s $PGDATA/PG_VERSION || -e $making ]]; then
  make_room
  create_cluster
fi
exec "$@"
