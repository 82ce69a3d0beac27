# The Docker engine: use it, start it, or install Debian's.
# shellcheck shell=bash

# shellcheck disable=SC2034 # DOCKER_BY_SUDO is read by dk
docker_answers() {
    if docker info >/dev/null 2>&1; then
        DOCKER_BY_SUDO=no
    elif [ "$(id -u)" -ne 0 ] && sudo -n docker info >/dev/null 2>&1; then
        DOCKER_BY_SUDO=yes
    else
        return 1
    fi
}

apt_install() {
    have apt-get || die "there is no Docker engine and no apt-get to install one" "install Docker, then run this again"
    say "installing from Debian's packages: $*"
    run "apt-get update" as_root apt-get update -q
    run "apt-get install $1" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@"
}

install_engine() {
    if ! have dockerd; then
        say "no Docker engine here: docker.io, iptables and debootstrap will be installed"
        apt_install docker.io iptables debootstrap
    elif ! have iptables; then
        apt_install iptables
    fi
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        run "systemctl start docker" as_root systemctl start docker
        return
    fi
    say "no systemd: starting dockerd in the background, log in $LOGS/dockerd.log"
    # A file left by a killed engine makes the next one refuse to start.
    if [ -f /var/run/docker.pid ] && ! as_root kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then
        as_root rm -f /var/run/docker.pid
    fi
    # setsid: the engine outlives this shell and the terminal.
    as_root setsid nohup dockerd >>"$LOGS/dockerd.log" 2>&1 </dev/null &
}

ensure_engine() {
    # One question for the password, if there is one, before sudo is tried without asking.
    docker_answers || [ "$(id -u)" -eq 0 ] || ! have sudo || sudo -v || die "needs root, sudo, or a Docker engine that you may use"
    if ! docker_answers; then
        [ -z "${DOCKER_HOST:-}" ] || die "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer"
        install_engine
        docker_answers || start_engine
        wait_for 60 docker_answers || {
            tail -n 15 "$LOGS/dockerd.log" >&2 2>/dev/null
            die "the Docker engine does not answer after 60 s"
        }
    fi
    say "Docker engine $(dk version --format '{{.Server.Version}}')"
}
