# eventpulse-standin/debian: a minimal Debian made by debootstrap from the host's own mirror.
# It also carries what the host needs to reach its mirrors: extra CA certificates, apt's proxy settings.
# shellcheck shell=bash disable=SC2016 # $(RELEASE) and the like are words of apt-get's --format

SUITE=bookworm
BASE=eventpulse-standin/debian:$SUITE-slim

debian_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v s="$SUITE" '$1 == s && $2 == "main" {print $3; exit}')
    uri=${uri:-http://deb.debian.org/debian}
    printf '%s' "${uri%/}"
}

security_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v s="$SUITE-security" '$1 == s {print $2; exit}')
    uri=${uri:-http://deb.debian.org/debian-security}
    printf '%s' "${uri%/}"
}

# debootstrap is a shell script: on a host that has Docker but not it, it is unpacked into the cache, not installed.
find_debootstrap() {
    if have debootstrap; then
        DEBOOTSTRAP=(debootstrap)
        return
    fi
    { have apt-get && have dpkg-deb && have wget; } || die "stand-in images need debootstrap, or a Debian or Ubuntu host with wget" \
        "make these images available to Docker instead, or run this on a machine that reaches an image registry"
    local dir=$CACHE/debootstrap
    if [ ! -x "$dir/usr/sbin/debootstrap" ]; then
        mkdir -p "$dir"
        run "fetch debootstrap" bash -c "cd '$dir' && apt-get download debootstrap && dpkg-deb -x debootstrap_*.deb ."
    fi
    DEBOOTSTRAP=(env "DEBOOTSTRAP_DIR=$dir/usr/share/debootstrap" "$dir/usr/sbin/debootstrap")
}

# Prints the certificates that the host trusts and a plain Debian does not, into single files of a folder.
write_extra_cas() {
    local host=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} plain=$1 into=$2
    [ -f "$host" ] || return 0
    awk -v into="$into" '
        /BEGIN CERTIFICATE/ { pem = ""; inside = 1 }
        inside { pem = pem $0 "\n" }
        /END CERTIFICATE/ {
            inside = 0
            if (FILENAME == ARGV[1]) known[pem] = 1
            else if (!(pem in known)) { f = into "/host-" ++n ".crt"; printf "%s", pem > f; close(f) }
        }' "$plain" "$host"
}

write_apt_settings() {
    local root=$1 mirror=$2
    printf 'deb %s %s main\ndeb %s %s-updates main\ndeb %s %s-security main\n' \
        "$mirror" "$SUITE" "$mirror" "$SUITE" "$(security_mirror)" "$SUITE" >"$root/etc/apt/sources.list"
    apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::Proxy|Check-)' \
        >"$root/etc/apt/apt.conf.d/90host" || true
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\nAcquire::Retries "3";\n' \
        >"$root/etc/apt/apt.conf.d/91small"
    printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n%s\n' \
        'path-include /usr/share/locale/locale.alias' >"$root/etc/dpkg/dpkg.cfg.d/91small"
}

make_root() {
    local root=$1 mirror=$2
    rm -rf "$root"
    "${DEBOOTSTRAP[@]}" --variant=minbase --include=ca-certificates "$SUITE" "$root" "$mirror"
    write_apt_settings "$root" "$mirror"
    write_extra_cas "$root/etc/ssl/certs/ca-certificates.crt" "$root/usr/local/share/ca-certificates"
    chroot "$root" update-ca-certificates
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/var/log/*.log
}

make_base_tar() {
    local tar=$1 mirror root
    mirror=$(debian_mirror)
    root=$(mktemp -d /var/tmp/eventpulse-base.XXXXXX)
    as_root bash -c "$(declare -f make_root write_apt_settings write_extra_cas security_mirror)
        $(declare -p DEBOOTSTRAP SUITE); set -e; make_root '$root' '$mirror'
        tar -C '$root' --numeric-owner --one-file-system -czf '$tar.part' .; rm -rf '$root'"
    as_root mv "$tar.part" "$tar"
}

build_base() {
    local tar=$CACHE/debian-$SUITE.tar.gz
    dk image inspect "$BASE" >/dev/null 2>&1 && return
    find_debootstrap
    [ -s "$tar" ] || run "debootstrap $SUITE" make_base_tar "$tar"
    run "import $BASE" dk import --change 'CMD ["bash"]' --change 'ENV LANG=C.UTF-8' \
        --change 'LABEL eventpulse.standin=debian' "$tar" "$BASE"
}
