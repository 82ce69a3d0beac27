# All of EventPulse in one image. Works with BuildKit and with the classic builder.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Behind a proxy: an untracked folder .build-host/ may hold ca.crt and cargo-config.toml (scripts/stack).
COPY Cargo.toml .build-hos[t]/* /build-host/
RUN if [ -f /build-host/ca.crt ]; then cp /build-host/ca.crt /usr/local/share/ca-certificates/host.crt && update-ca-certificates; fi \
 && if [ -f /build-host/cargo-config.toml ]; then cp /build-host/cargo-config.toml "${CARGO_HOME:-$HOME/.cargo}/config.toml"; fi
ENV SQLX_OFFLINE=true CARGO_INCREMENTAL=0 CARGO_NET_RETRY=10 \
    CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo

# First the dependencies, over empty crates: this layer lasts until a manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY shared-events/Cargo.toml shared-events/
COPY service-kit/Cargo.toml service-kit/
COPY ingest/Cargo.toml ingest/
COPY rules/Cargo.toml rules/
COPY action-runner/Cargo.toml action-runner/
COPY incident-store/Cargo.toml incident-store/
COPY cli/Cargo.toml cli/
COPY tests/Cargo.toml tests/
COPY torture/Cargo.toml torture/
COPY fuzz/Cargo.toml fuzz/
COPY bench/Cargo.toml bench/
COPY demo/app/Cargo.toml demo/app/
COPY demo/story/Cargo.toml demo/story/
COPY scripts/image-build scripts/
RUN scripts/image-build dependencies

COPY schemas schemas
COPY migrations migrations
COPY shared-events shared-events
COPY service-kit service-kit
COPY ingest ingest
COPY rules rules
COPY action-runner action-runner
COPY incident-store incident-store
COPY cli cli
COPY bench bench
COPY demo/app demo/app
COPY demo/story demo/story
RUN scripts/image-build binaries /out

FROM ${DEBIAN_IMAGE}
LABEL org.opencontainers.image.title="EventPulse" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin eventpulse \
 && mkdir -p /config /etc/ssl/certs \
 && install -d -o 10001 -g 10001 -m 0770 /run/docker-gate /var/lib/docker-gate
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
USER 10001:10001
CMD ["eventpulse", "--help"]
