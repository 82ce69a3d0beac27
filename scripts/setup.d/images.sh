# Official images where they can be pulled; stand-ins, named as such, where they cannot.
# shellcheck shell=bash

ENV_FILE=$ROOT/.env
declare -A DOWN_REGISTRY=()
declare -a CHOSEN=()

registry_of() {
    local first=${1%%/*}
    if [ "$first" != "$1" ] && [[ $first == *.* || $first == *:* ]]; then echo "$first"; else echo docker.io; fi
}

present() { dk image inspect "$1" >/dev/null 2>&1; }

env_value() { [ ! -f "$ENV_FILE" ] || sed -n "s/^$1=//p" "$ENV_FILE" | tail -n 1; }

# pull REF: once; a registry that cannot be reached is not asked again in this run.
pull() {
    local ref=$1 registry log=$LOGS/pull.log
    registry=$(registry_of "$ref")
    [ "${EVENTPULSE_IMAGES:-}" != standin ] && [ -z "${DOWN_REGISTRY[$registry]:-}" ] || return 1
    say "pulling $ref ..."
    if dk pull -q "$ref" >"$log" 2>&1; then
        say "pulled $ref"
        return 0
    fi
    say "cannot pull $ref: $(tail -n 1 "$log" | cut -c1-160)"
    if grep -qiE 'no such host|time-?out|timed out|refused|unreachable|proxyconnect|x509|tls|deadline|canceled' "$log"; then
        say "NOTICE: the image registry $registry cannot be reached from here; stand-ins will be built from package registries"
        DOWN_REGISTRY[$registry]=yes
    fi
    return 1
}

# choose VARIABLE OFFICIAL STANDIN: uses what is there, else pulls, else builds.
choose() {
    local variable=$1 official=$2 standin ref set
    standin=$(standin_ref "$3")
    set=$(env_value "$variable")
    ref=${!variable:-$set}
    # A stand-in of an older version of this script is replaced, not looked for.
    [[ $ref != eventpulse-standin/* ]] || ref=$standin
    if [ -n "$ref" ] && [ "$ref" != "$standin" ]; then
        present "$ref" || pull "$ref" || die "$variable=$ref can be neither found nor pulled" "correct it in .env or the environment"
    elif [ "$ref" != "$standin" ] && { present "$official" || pull "$official"; }; then
        return
    else
        build_standin "$3"
        CHOSEN+=("$variable=$standin")
    fi
}

# Keeps what people wrote into .env; only lines that name a stand-in are ours.
write_env() {
    local mine=() line
    [ "${#CHOSEN[@]}" -gt 0 ] || return 0
    for line in "${CHOSEN[@]}"; do mine+=(-e "^${line%%=*}=eventpulse-standin/"); done
    touch "$ENV_FILE"
    {
        grep -vE -e '=eventpulse-standin/' -e '^# stand-ins, ' "$ENV_FILE" || true
        echo "# stand-ins, written by scripts/setup because an image registry could not be reached; delete to try again"
        {
            # Those of another mode, not chosen in this run.
            grep '=eventpulse-standin/' "$ENV_FILE" | grep -v "${mine[@]}" || true
            printf '%s\n' "${CHOSEN[@]}"
        } | sort -u
    } >"$ENV_FILE.part"
    mv "$ENV_FILE.part" "$ENV_FILE"
    say "${#CHOSEN[@]} images are stand-ins (eventpulse-standin/*), named in .env"
}

choose_test_images() {
    choose DEBIAN_IMAGE debian:bookworm-slim debian
    choose POSTGRES_IMAGE postgres:18 postgres
    choose KAFKA_IMAGE apache/kafka:4.3.1 kafka
    choose REGISTRY_IMAGE apicurio/apicurio-registry:3.3.3 registry
    choose PROMETHEUS_IMAGE prom/prometheus:v3.13.5 prometheus
    choose ALERTMANAGER_IMAGE prom/alertmanager:v0.34.2 alertmanager
    choose ENGINE_IMAGE docker:28-dind engine
    # Without cargo here the tests run in a container.
    host_has_cargo || choose RUST_IMAGE rust:1.95-bookworm rust
}

choose_demo_images() {
    choose_test_images
    choose RUST_IMAGE rust:1.95-bookworm rust
    choose TRAEFIK_IMAGE traefik:v3.7.13 traefik
    choose CADVISOR_IMAGE ghcr.io/google/cadvisor:v0.60.6 cadvisor
}
