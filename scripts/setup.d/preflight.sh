# What must be true before anything is installed or built: memory, disk, ports, a way to be root.
# shellcheck shell=bash

check_root() {
    [ "$(id -u)" -eq 0 ] || have sudo || docker info >/dev/null 2>&1 ||
        die "needs root, sudo, or a Docker engine that you may use" "run it as root"
}

check_memory() {
    local mb
    mb=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    [ "$mb" -ge 3700 ] || die "needs 4 GB of memory, here are $mb MB"
}

check_disk() {
    local mb
    mb=$(df --output=avail -m "$CACHE" | tail -n 1 | tr -d ' ')
    [ "$mb" -ge 10240 ] || die "needs 10 GB of free disk, $CACHE has $((mb / 1024)) GB" \
        "make room, or set EVENTPULSE_CACHE to a folder on a larger disk"
}

# The socket inodes that listen on a port, from /proc: a bare machine may lack ss and lsof.
listening_inodes() {
    local hex files=(/proc/net/tcp)
    hex=$(printf '%04X' "$1")
    [ ! -r /proc/net/tcp6 ] || files+=(/proc/net/tcp6)
    awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port {print $10}' "${files[@]}"
}

pid_of_socket() {
    local fd
    for fd in /proc/[0-9]*/fd/*; do
        if [ "$(readlink "$fd" 2>/dev/null)" = "socket:[$1]" ]; then
            fd=${fd#/proc/}
            printf '%s' "${fd%%/*}"
            return
        fi
    done
}

# A port that our own containers publish is not taken.
published_by_us() {
    docker_answers || return 1
    dk ps --filter "publish=$1" --format '{{.Label "com.docker.compose.project"}}' | grep -qE '^eventpulse(-test)?$'
}

check_port() {
    local variable=$1 port=$2 inode pid holder
    inode=$(listening_inodes "$port" | head -n 1)
    [ -n "$inode" ] || return 0
    ! published_by_us "$port" || return 0
    pid=$(pid_of_socket "$inode")
    holder="a process of another user"
    [ -z "$pid" ] || holder="pid $pid ($(cat "/proc/$pid/comm"))"
    PORT_PROBLEMS+=("port $port is taken by $holder; stop it, or set $variable to a free port")
}

# Port variables are those of compose.yaml and tests/compose.yaml, from the environment or from .env.
port_setting() {
    local variable=$1 default=$2 line
    line=$(grep -E "^$variable=[0-9]+$" "$ROOT/.env" 2>/dev/null | tail -n 1 || true)
    line=${line#*=}
    printf '%s' "${!variable:-${line:-$default}}"
}

check_ports() {
    local pair PORT_PROBLEMS=()
    for pair in "$@"; do
        check_port "${pair%=*}" "$(port_setting "${pair%=*}" "${pair#*=}")"
    done
    [ "${#PORT_PROBLEMS[@]}" -eq 0 ] || die "${PORT_PROBLEMS[@]}"
}

preflight() {
    check_root
    check_memory
    check_disk
    check_ports "$@"
    say "preflight: memory, disk and $# ports are free"
}
