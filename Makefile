# Targets for a fresh machine: each brings what it needs. `make help` lists them.

CARGO ?= cargo
PYTHON ?= python3
SERVICES := integration-tests/services
# Also the versions that `make matrix` goes through; `WALFERRY_PG=16 make test` tests one.
VERSIONS := 14 15 16 17 18
CARGO_DENY_VERSION := 0.20.2
TOOLS := target/tools
# Of `make fuzz`: one of fuzz/fuzz_targets, or all of them in turn, each for so many seconds.
TARGET ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
SECONDS ?= 60
BENCH := $(CARGO) bench --workspace $(foreach name,drain snapshot latency start idle encode instructions,--bench $(name))

comma := ,
empty :=
space := $(empty) $(empty)

# Runs the fetch beside a command, which has the terminal to itself when it fails.
define beside_fetch
	@$(PYTHON) $(SERVICES)/fetch.py --lines & fetch=$$!; \
	$(1); built=$$?; \
	wait $$fetch; fetched=$$?; \
	[ $$fetched -eq 0 ] || echo "make: the services were not fetched; the reason is above" >&2; \
	exit $$((built | fetched))
endef

.DEFAULT_GOAL := help
.PHONY: help prerequisites services build test matrix fuzz check format lint docs fuzz-targets deny advisories demo bench figures

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prerequisites: ## Checks for compilers, OpenSSL's headers and python3; as root on Debian installs them.
	@$(SERVICES)/prerequisites.sh

services: prerequisites ## Fetches PostgreSQL, Kafka and the registry into target/services.
	@$(PYTHON) $(SERVICES)/fetch.py

build: prerequisites ## Builds the release binary, and fetches the services meanwhile.
	$(call beside_fetch,$(CARGO) build --release --bin walferry)

test: prerequisites ## Runs all tests, against real services.
	$(call beside_fetch,$(CARGO) build --bin walferry && $(CARGO) test --workspace --no-run)
	$(CARGO) test --workspace

matrix: prerequisites ## Runs the integration tests on each PostgreSQL version.
	@$(PYTHON) $(SERVICES)/fetch.py --only kafka,registry,$(subst $(space),$(comma),$(VERSIONS:%=pg%))
	$(CARGO) build --bin walferry
	@for version in $(VERSIONS); do \
		echo "PostgreSQL $$version"; \
		WALFERRY_PG=$$version $(CARGO) test -p integration-tests || exit 1; \
	done

fuzz: prerequisites ## Fuzzes the readers of foreign bytes: TARGET=pgoutput SECONDS=600.
	@fuzz/run $(SECONDS) $(TARGET)

check: prerequisites format lint docs fuzz-targets deny advisories ## Format, lints, documentation, licences, banned crates, advisories.

format: ## Is everything formatted?
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path fuzz/Cargo.toml

lint: ## Clippy, warnings denied.
	$(CARGO) clippy --workspace --all-targets -- -D warnings

docs: ## Builds the API documentation, warnings denied.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# Needs no nightly: that the targets compile, not that they can be run.
fuzz-targets: ## Do the fuzz targets compile?
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --target-dir target --bins

deny: $(TOOLS)/bin/cargo-deny ## Licences, banned crates and sources of all dependencies.
	$(TOOLS)/bin/cargo-deny check --hide-inclusion-graph licenses bans sources
	$(TOOLS)/bin/cargo-deny --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph licenses bans sources

# Says so when the database cannot be reached; a finding in it fails all the same.
advisories: $(TOOLS)/bin/cargo-deny ## Known vulnerabilities of all dependencies, where their database can be reached.
	@.ci/advisories $(TOOLS)/bin/cargo-deny

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install --locked cargo-deny --version $(CARGO_DENY_VERSION) --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

demo: prerequisites ## Shows walferry at work on a small shop database.
	$(call beside_fetch,$(CARGO) build --release --workspace --bins)
	$(CARGO) run --release -p integration-tests --bin demo

# One set of packages in both: with another one cargo would build half of them twice.
bench: prerequisites ## Measures against pg_recvlogical: target/bench/report.md. Takes some minutes.
	$(call beside_fetch,$(CARGO) build --release --workspace --bin walferry && $(BENCH) --no-run)
	$(BENCH) --no-fail-fast

figures: ## Writes the tables of the last `make bench` into README.md.
	$(CARGO) run --release -p integration-tests --bin figures
