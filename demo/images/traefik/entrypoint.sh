#!/bin/sh
# As in the official image: flags and subcommands go to traefik, anything else is run as it is.
set -e
case ${1:-} in
-*) set -- traefik "$@" ;;
version | healthcheck) set -- traefik "$@" ;;
esac
exec "$@"
