# Docker Compose v2 or later, as a CLI plugin.
# shellcheck shell=bash

PLUGINS=/usr/local/lib/docker/cli-plugins

compose_new_enough() {
    local version
    version=$(docker compose version --short 2>/dev/null) || return 1
    version=${version#v}
    [ "$(printf '%s\n2.24.0\n' "$version" | sort -V | head -n 1)" = 2.24.0 ]
}

ensure_compose() {
    if ! compose_new_enough; then
        say "no Docker Compose 2.24 or later here: one is built from its Go module, to $PLUGINS"
        ensure_prepared compose
        as_root install -D -m 755 "$PREPARED/docker-compose" "$PLUGINS/docker-compose"
        compose_new_enough || die "Docker Compose was installed to $PLUGINS but \`docker compose version\` fails"
    fi
    say "Docker Compose $(docker compose version --short)"
}
