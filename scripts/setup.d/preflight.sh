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

# The first run needs room for everything; later ones only for what the stack writes.
check_disk() {
    local need=10 folder gb
    [ ! -f "$CACHE/ready-$1" ] || need=2
    for folder in "$CACHE" /var/lib; do
        gb=$(($(df --output=avail -k "$folder" | tail -n 1) / 1024 / 1024))
        [ "$gb" -ge "$need" ] || die "needs $need GB of free disk, $folder has $gb GB" \
            "make room; EVENTPULSE_CACHE chooses another folder than $CACHE"
    done
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

# preflight MODE VARIABLE=PORT...
preflight() {
    check_root
    check_memory
    check_disk "$1"
    check_ports "${@:2}"
    say "preflight: memory, disk and $(($# - 1)) ports are free"
}
