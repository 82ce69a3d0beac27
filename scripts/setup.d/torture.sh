# shellcheck shell=bash
# What a torture run breaks: Kafka, Postgres and a registry in a Compose project of their own.
torture_compose() {
    dk compose -p "${TORTURE_PROJECT:-eventpulse-torture}" -f tests/compose.yaml -f torture/compose.yaml "$@"
}
