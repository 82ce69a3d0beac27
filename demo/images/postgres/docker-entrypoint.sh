#!/bin/bash
# The official image's first start in short: POSTGRES_USER, _PASSWORD, _DB, _INITDB_ARGS, _HOST_AUTH_METHOD (and *_FILE),
# then /docker-entrypoint-initdb.d/*.sh, *.sql and *.sql.gz, on a server that listens only on its socket.
set -Eeo pipefail

from_file() {
    local file=${1}_FILE
    [ -z "${!file:-}" ] || export "$1=$(<"${!file}")"
    export "$1=${!1:-$2}"
}

create_cluster() {
    [ -n "$POSTGRES_PASSWORD" ] || [ "$POSTGRES_HOST_AUTH_METHOD" = trust ] || {
        echo "Error: database is uninitialized and superuser password is not specified. Set POSTGRES_PASSWORD." >&2
        exit 1
    }
    local args=()
    read -ra args <<<"$POSTGRES_INITDB_ARGS"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${args[@]}"
    # initdb puts the socket where it was compiled to be, whatever the sample file says.
    echo "unix_socket_directories = '/var/run/postgresql, /tmp'" >>"$PGDATA/postgresql.conf"
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
}

run_init_files() {
    local file psql=(psql -v ON_ERROR_STOP=1 --no-psqlrc -h /var/run/postgresql -U "$POSTGRES_USER")
    if [ "$POSTGRES_DB" != postgres ]; then
        "${psql[@]}" -d postgres -v db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh)
            # shellcheck source=/dev/null
            if [ -x "$file" ]; then "$file"; else . "$file"; fi
            ;;
        *.sql) "${psql[@]}" -d "$POSTGRES_DB" -f "$file" ;;
        *.sql.gz) gunzip -c "$file" | "${psql[@]}" -d "$POSTGRES_DB" ;;
        esac
    done
}

first_start() {
    create_cluster
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -w start -o "-c listen_addresses='' -p 5432"
    run_init_files
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
    echo "PostgreSQL init process complete; ready for start up."
}

[ "${1:0:1}" != - ] || set -- postgres "$@"
if [ "$1" = postgres ]; then
    if [ "$(id -u)" = 0 ]; then
        install -d -o postgres -g postgres -m 700 "$PGDATA"
        chown -R postgres:postgres "$PGDATA" /var/run/postgresql
        chown postgres:postgres /var/lib/postgresql
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
    fi
    from_file POSTGRES_USER postgres
    from_file POSTGRES_PASSWORD ''
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS ''
    [ -s "$PGDATA/PG_VERSION" ] || first_start
fi
exec "$@"
