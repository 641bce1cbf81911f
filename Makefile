# nos: what there is to do. Each target does its own set-up; `make help` lists them.
# Settings (make run SMP=2 MEM=1G ...) are described at the head of scripts/run.sh.

export SEED SMP MEM REDIS_PORT HTTP_PORT NET NIC DISK APPEND APP WITHOUT CPU ACCEL IMAGE LINE_TABLE QEMU_EXTRA FUZZ_SECONDS
# rustup's own directory is often missing from the PATH of a fresh login.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

guest := aarch64-unknown-none

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: setup-run image ## boot under QEMU in the foreground; Ctrl-A X ends it
	@scripts/run.sh

.PHONY: image
image: setup-run ## target/nos.img (arm64 Image), target/nos.elf, target/nos.debug (symbols)
	@scripts/image.sh

.PHONY: test test-host test-harness test-guest test-image
test: setup-test ## every test: on the host, inside QEMU, on the whole image with real clients
	@scripts/test.sh
test-host test-harness test-guest test-image: setup-test
	@scripts/test.sh $(@:test-%=%)

.PHONY: nightly
nightly: setup-test ## make test, with the long runs: every machine, more random input
	@NOS_NIGHTLY=1 scripts/features.sh
	@NOS_NIGHTLY=1 scripts/test.sh
	@scripts/trace-alloc.sh 2
	@NOS_NIGHTLY=1 scripts/miri.sh

.PHONY: bench
bench: setup-test image ## every benchmark: a table, and target/bench/NAME.json (make bench-NAME for one)
	@for bench in scripts/bench-*.sh; do [ ! -e $$bench ] || BENCH_ALL=1 $$bench || exit 1; done
bench-%: setup-test image ## one: bench-serve, bench-bus, bench-alloc, bench-preemption (settings at the heads of scripts/bench-*.sh)
	@scripts/bench-$*.sh

.PHONY: bench-alloc bench-alloc-baseline bench-alloc-check
bench-alloc-baseline: ## counts the memory manager's instructions anew: benches/alloc-baseline.txt
bench-alloc bench-alloc-baseline bench-alloc-check: setup-test
	@scripts/bench-alloc.sh $(patsubst bench-alloc-%,%,$(filter-out bench-alloc,$@))

.PHONY: bench-faults
bench-faults: setup-test image ## SEED=1 FAULTS=300: faults on the running image under load, every outcome counted
	@scripts/bench-faults.sh

.PHONY: bench-anomaly
bench-anomaly: setup-run ## DATA=DIR: scores the rows of recorded series (*.csv: timestamp,value) into target/bench/anomaly/
	@DATA='$(DATA)' scripts/bench-anomaly.sh

.PHONY: bench-rca
bench-rca: setup-run ## DATA=DIR: ranks the components of recorded incidents (petshop/, nezha/) into target/bench/rca.csv
	@DATA='$(DATA)' scripts/bench-rca.sh

.PHONY: trace-alloc
trace-alloc: setup-test ## records allocations under a load of SEED=1 and replays them with fixed page caches and the image's
	@scripts/trace-alloc.sh

# Cargo looks for make's job server, which recipes are not given.
alone := env -u MAKEFLAGS -u MFLAGS
.PHONY: ci fmt lint features loom miri fuzz floors
ci: setup-test ## what CI runs: format, clippy, models, every test, each part left out
	@# Two at a time: they build in directories of their own, or wait for each other's builds, and each is often on one CPU.
	@$(MAKE) -j2 fmt lint loom miri features test
fmt: setup-run
	cargo fmt --check
	cargo fmt --check --manifest-path scripts/tables/Cargo.toml
lint: setup-run
	$(alone) cargo clippy --quiet --lib --bench anomaly --bench rca --test bench_anomaly --test house_rules --test simulation --test harness --test image -- -D warnings
	$(alone) cargo clippy --quiet --manifest-path scripts/tables/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}/tables" -- -D warnings
	$(alone) cargo clippy --quiet --target $(guest) --lib --bins --examples --test 'guest_*' --test crash --test empty --test switch_cost --test bench_bus --test bench_alloc --test preemption_cost -- -D warnings
features: setup-test ## the image without each optional part, and without all: clippy, sizes, the tests of the rest
	@scripts/features.sh
loom_optimised := --config profile.dev.package.loom.opt-level=2 --config profile.dev.package.generator.opt-level=2
# Built apart: the cfg would have everything else built anew.
loom: setup-run ## models of the lock-free structures: every order in which their users can meet
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}/loom" LOOM_MAX_PREEMPTIONS=3 \
		$(alone) cargo test --quiet --lib $(loom_optimised) -- split_ring bus::models page_cache::signals
miri: setup-run ## the tests of what has unsafe code under Miri, with a nightly toolchain
	@scripts/miri.sh
fuzz: setup-run ## each fuzz target for FUZZ_SECONDS=60, with a nightly toolchain and cargo-fuzz
	@scripts/fuzz.sh
floors: setup-run ## which floor imports which, file sizes, error types, duplicates
	@scripts/check-floors.sh

.PHONY: docs
docs: setup-run ## docs/causes.md and docs/prometheus-rules.yml, made from the tables of the diagnosis engine
	NOS_WRITE_DOCS=1 cargo test --quiet --test house_rules generated

.PHONY: setup setup-run setup-test
setup: setup-test ## install what is missing, and say so
setup-run:
	@scripts/setup.sh run
setup-test:
	@scripts/setup.sh test

.PHONY: clean
clean: ## remove everything built
	cargo clean
	rm -rf target
