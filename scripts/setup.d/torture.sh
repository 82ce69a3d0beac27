# shellcheck shell=bash
# What a torture run breaks: Kafka, Postgres, a registry and a Docker engine in a Compose project of their own.

# Where that engine's socket is: in the user's folder, for the user's group. Its path may have 107 characters.
TORTURE_ENGINE_FOLDER=${TORTURE_ENGINE_FOLDER:-$ROOT/.cache/torture/engine/${TORTURE_PROJECT:-eventpulse-torture}}
TORTURE_ENGINE_GROUP=${TORTURE_ENGINE_GROUP:-$(id -g)}
export TORTURE_ENGINE_FOLDER TORTURE_ENGINE_GROUP

torture_compose() {
    # Before Docker makes it, as root's.
    mkdir -p "$TORTURE_ENGINE_FOLDER"
    dk compose -p "${TORTURE_PROJECT:-eventpulse-torture}" -f tests/compose.yaml -f torture/compose.yaml "$@"
}

# Starts it, with the image that containers are made of in its engine.
torture_up() {
    local engine=unix://$TORTURE_ENGINE_FOLDER/docker.sock image=${DEBIAN_IMAGE:-$(env_value DEBIAN_IMAGE)}
    image=${image:-debian:bookworm-slim}
    torture_compose up -d --wait --wait-timeout 300 || return
    docker -H "$engine" image inspect "$image" >/dev/null 2>&1 || dk save "$image" | docker -H "$engine" load
}
