# EventPulse. `make` lists the targets. Everything longer than a line is in scripts/.
PROFILE ?= fast
DURATION ?= 600
SEED ?= 1
ifeq ($(filter $(PROFILE),fast mission),)
$(error PROFILE is $(PROFILE): fast (windows of 15s and 30s) or mission (2m and 5m))
endif
export EVENTPULSE_PROFILE := $(if $(filter mission,$(PROFILE)),full,fast)
.DEFAULT_GOAL := help
.PHONY: help setup up demo down purge test check bench bench-growth bench-load torture soak

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PROFILE=mission  with up and demo: the real windows of 2m and 5m (default: fast)"

setup: ## Docker engine, Compose and images, where they are missing
	@scripts/setup demo

up: ## set up, build, and start the whole stack with a service to scale
	@scripts/stack up

demo: ## that, and tell the story live: load, alert, second replica, recovery, failure
	@scripts/stack demo

down: ## remove containers and networks, keep the volumes
	@scripts/stack down

purge: ## that, and delete the volumes
	@scripts/stack purge

test: ## set up, and run every test
	@scripts/test

torture: ## break everything for DURATION seconds by SEED, heal, and check that nothing was lost or done twice
	@scripts/torture --duration $(DURATION) --seed $(SEED) $(TORTURE)

soak: DURATION = 3600
soak: ## the load alone for DURATION seconds (an hour): does what services hold stay bounded?
	@scripts/torture --calm --duration $(DURATION) --seed $(SEED) $(TORTURE)

bench: ## measure it on this machine, beside the machine's own floor (BENCH='--workloads w2 --seconds 300'; BASELINE=a commit: in turn with that)
	@scripts/bench $(if $(BASELINE),--baseline $(BASELINE)) $(BENCH)

bench-growth: ## the same load on a million stored alerts, and with 500 rules
	@scripts/bench --growth $(BENCH)

bench-load: ## latency from webhook to visible incident at 50 to 1000 alerts a second
	@scripts/bench --load $(BENCH)

check: ## only format, lints and configuration (needs cargo here, and the images of `make test`)
	@cargo fmt --all --check
	@SQLX_OFFLINE=true cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	@scripts/check-configs
