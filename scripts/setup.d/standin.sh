# Builds stand-in images from demo/images/<name>: an optional `prepare`, run in a builder container with the sources
# in `src`, leaves files that the Dockerfile copies. Those are kept in the cache under a key of their inputs.
# shellcheck shell=bash

IMAGES=$ROOT/demo/images
# What a container needs to reach the package registries the way the host does.
PASS_ENV=(HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy GOPROXY GONOSUMDB GOSUMDB PIP_INDEX_URL)

standin_tag() {
    case $1 in
    debian) echo "$SUITE-slim" ;;
    fetch) echo 1 ;;
    go) echo 1.26.8 ;;
    jre) echo 25 ;;
    postgres) echo 18 ;;
    kafka) echo 4.3.1 ;;
    registry) echo 3.3.3 ;;
    prometheus) echo 2.42 ;;
    alertmanager) echo 0.25 ;;
    traefik) echo v3.7.13 ;;
    cadvisor) echo v0.53.0 ;;
    hey) echo "$SUITE" ;;
    engine) echo 20.10 ;;
    rust) echo "1.95-$SUITE" ;;
    *) die "no stand-in is known for $1" ;;
    esac
}

standin_ref() { echo "eventpulse-standin/$1:$(standin_tag "$1")"; }

image_label() { dk image inspect --format '{{index .Config.Labels "eventpulse.standin.key"}}' "$1" 2>/dev/null || true; }

# classic_build REF KEY [TAR OPTIONS...]: the context comes as a tar, so nothing is copied into the work tree.
classic_build() {
    local ref=$1 key=$2 name args=()
    shift 2
    for name in "${PASS_ENV[@]}"; do
        [ -z "${!name:-}" ] || args+=(--build-arg "$name=${!name}")
    done
    tar -cf - "$@" | DOCKER_BUILDKIT=0 dk build --force-rm --build-arg "BASE=$BASE" "${args[@]}" \
        --label "eventpulse.standin.key=$key" -t "$ref" -
}

stands_on_jre() { grep -q 'ARG JRE=' "$IMAGES/$1/Dockerfile"; }

# The key of a stand-in: its recipe and the images it stands on.
standin_key() {
    {
        content_key "$IMAGES/$1"
        dk image inspect --format '{{.Id}}' "$BASE"
        ! stands_on_jre "$1" || image_label "$(standin_ref jre)"
    } | sha256sum | cut -c1-16
}

# The host's Rust, for the rust image where Rust's own server cannot be reached.
host_rust() {
    HOST_RUST=$(rustup which --toolchain 1.95.0 cargo 2>/dev/null) || return 1
    HOST_RUST=${HOST_RUST%/bin/cargo}
}

# prepare_in BUILDER FOLDER OUT: runs FOLDER/prepare with $OUT to fill; it is there whole or not at all.
prepare_in() {
    local builder=$1 folder=$2 out=$3 name env=() HOST_RUST
    for name in "${PASS_ENV[@]}"; do
        [ -z "${!name:-}" ] || env+=(-e "$name=${!name}")
    done
    # Containers write as root.
    as_root rm -rf "$out.part"
    mkdir -p "$out.part" "$CACHE/m2" "$CACHE/gomod" "$CACHE/pip"
    ! host_rust || env+=(-v "$HOST_RUST:/host-rust:ro")
    dk run --rm --cpu-shares 256 "${env[@]}" -e OUT=/out -v "$out.part:/out" -v "$folder:/src:ro" \
        -v "$CACHE/m2:/root/.m2" -v "$CACHE/pip:/root/.cache/pip" \
        -v "$CACHE/gomod:/go/pkg/mod" -e GOPATH=/go \
        "$builder" bash /src/prepare
    mv "$out.part" "$out"
}

# find_builder NAME: sets BUILDER to the image to run a `prepare` in. For Go the official one does, if it can be had.
find_builder() {
    BUILDER=golang:1.26-bookworm
    [ "$1" != go ] || ! { present "$BUILDER" || pull "$BUILDER"; } || return 0
    build_standin "$1"
    BUILDER=$(standin_ref "$1")
}

# ensure_prepared NAME: sets PREPARED to the folder with the files that NAME's `prepare` made.
ensure_prepared() {
    local name=$1 builder=fetch key
    ! grep -q 'In the go builder' "$IMAGES/$name/prepare" || builder=go
    key=$(cd "$IMAGES/$name" && find . \( -path ./prepare -o -path './src/*' \) -type f -exec sha256sum {} + | sort | sha256sum | cut -c1-16)
    PREPARED=$CACHE/out/$name-$key
    [ ! -d "$PREPARED" ] || return 0
    find_builder "$builder"
    run "prepare $name" prepare_in "$BUILDER" "$IMAGES/$name" "$PREPARED"
    # What an older recipe made is of no more use.
    find "$CACHE/out" -maxdepth 1 -name "$name-*" ! -path "$PREPARED" -print0 | as_root xargs -0r rm -rf
}

build_standin() {
    local name=$1 ref key context
    [ "$name" != debian ] || { build_base; return; }
    ref=$(standin_ref "$name")
    build_base
    ! stands_on_jre "$name" || build_standin jre
    key=$(standin_key "$name")
    [ "$(image_label "$ref")" != "$key" ] || return 0
    context=(-C "$IMAGES/$name" .)
    if [ -f "$IMAGES/$name/prepare" ]; then
        ensure_prepared "$name"
        context+=(-C "$PREPARED" .)
    fi
    run "build $ref" classic_build "$ref" "$key" "${context[@]}"
}
