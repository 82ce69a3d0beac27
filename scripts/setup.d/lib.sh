# Shared by every step: progress lines, root, cache, running things with a log.
# shellcheck shell=bash

CACHE=${EVENTPULSE_CACHE:-$HOME/.cache/eventpulse}
LOGS=$CACHE/logs
STARTED=$SECONDS
DOCKER_BY_SUDO=no

say() { printf '%s %3ds  %s\n' "$(date +%H:%M:%S)" "$((SECONDS - STARTED))" "$*"; }

# die SENTENCE [NEXT STEP]: each on a line of its own.
# shellcheck disable=SC2034 # SAID is read by setup's exit trap
die() {
    SAID=yes
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Whether this machine runs the workspace's cargo commands: the toolchain of rust-toolchain.toml and a C compiler.
host_has_cargo() {
    local wanted
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")
    have cc && have make && (
        cd "$ROOT" && export RUSTUP_AUTO_INSTALL=0
        cargo fmt --version && cargo clippy --version && cargo --version | grep -q " $wanted "
    ) >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Docker directly where the user may use it, through sudo otherwise.
dk() {
    if [ "$(id -u)" -ne 0 ] && [ "$DOCKER_BY_SUDO" = yes ]; then
        sudo --preserve-env=DOCKER_HOST,DOCKER_BUILDKIT,TORTURE_ENGINE_FOLDER,TORTURE_ENGINE_GROUP,TORTURE_DISK docker "$@"
    else
        docker "$@"
    fi
}

# run LABEL COMMAND...: output goes to a log file; a failure prints its end.
run() {
    local label=$1 began=$SECONDS log status
    shift
    log=$LOGS/$(printf '%s' "$label" | tr -c 'A-Za-z0-9.\n' '-').log
    say "$label ..."
    # Not `if "$@"`: inside a condition, bash would not stop a function at its first failing command.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        say "$label: done in $((SECONDS - began)) s"
    else
        tail -n 25 "$log" >&2
        die "$label failed" "the whole log: $log"
    fi
}

# wait_for SECONDS COMMAND...: true as soon as the command is.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.5
    done
}

# The content of files and folders as one short key, names and modes included.
content_key() {
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf - . | sha256sum | cut -c1-16
}

make_cache() {
    mkdir -p "$LOGS" "$CACHE/out" || die "cannot write to $CACHE" "set EVENTPULSE_CACHE to a folder with 10 GB of room"
}
