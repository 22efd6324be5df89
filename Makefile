# The HAProxy series that tests run on: make test HAPROXY=3.0, or 2.6,3.0,3.2,3.4
HAPROXY ?= 2.6,3.4
# Arguments of demo, bench, acceptance and pytest: make demo ARGS=--once
ARGS ?=
# How long `make sanitize` goes on
SECONDS ?= 600
PYTHON ?= .venv/bin/python
export HAPROXY

comma := ,
SERIES = $(subst $(comma), ,$(HAPROXY))
PROTOC = $(PYTHON) -m grpc_tools.protoc -I proto
PROTO = $(sort $(shell find proto -name '*.proto'))

.DEFAULT_GOAL := help
.PHONY: help setup proto lock lint test test-unit demo sanitize soak bench bench-fastpath bench-scale bench-compare figures acceptance image wheelhouse clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

setup: ## Prepare this machine: Debian packages, .venv, the fast path, HAProxy (as root, on Debian 12)
	@scripts/setup.sh $(SERIES)

proto: ## Generate the gRPC code from proto/ anew
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. $(PROTO)

lock: ## Pin what pyproject.toml asks for, in requirements.lock
	$(dir $(PYTHON))pip-compile -q --extra dev --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --allow-unsafe -o requirements.lock pyproject.toml

lint: ## All checks that run no code: ruff, mypy, layers, protolint, generated code up to date
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy -p l7 -p haproxy -p nginx -p testbed
	$(dir $(PYTHON))lint-imports
	$(dir $(PYTHON))protolint lint proto
	@new=$$(mktemp -d) && trap 'rm -r "$$new"' EXIT && \
	$(PROTOC) --python_out="$$new" --pyi_out="$$new" --grpc_python_out="$$new" $(PROTO) && \
	(cd "$$new" && find . -type f) | while read -r file; do \
		cmp "$$new/$$file" "$$file" || { echo "run 'make proto' and commit the result"; exit 1; }; \
	done

test: setup ## All levels, on HAProxy 2.6 and 3.4 (or HAPROXY=3.0); as root, for the levels on a real Swarm
	$(PYTHON) -m tests.levels -m "not soak" $(ARGS)

test-unit: setup ## Only what needs neither HAProxy nor Docker
	$(PYTHON) -m pytest tests/unit tests/property $(ARGS)

sanitize: setup ## The fast path under AddressSanitizer and UBSan, on inputs by chance (SECONDS=600)
	L7_SANITIZE=1 $(PYTHON) setup.py -q build_ext --build-lib build/sanitize --build-temp build/sanitize/parts
	LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		PYTHONMALLOC=malloc $(PYTHON) -m tests.fuzz --seconds $(SECONDS) --extension build/sanitize/l7/_fastpath.*.so

demo: setup ## Show it on a Swarm of its own, until Ctrl-C (ARGS=--once: end by itself)
	@$(PYTHON) -m examples.demo $(ARGS)

soak: setup ## The long tests, at the durations they state
	$(PYTHON) -m pytest -m soak --timeout 7200 $(ARGS)

bench-fastpath: setup ## The fast path's targets: prints them, writes benchmarks/results/fastpath.json
	$(PYTHON) -m benchmarks.fastpath $(ARGS)

bench: setup ## The scenarios: prints their figures, writes benchmarks/results/
	$(PYTHON) -m benchmarks.scenario $(ARGS)
	$(if $(ARGS),,$(PYTHON) -m benchmarks.scale --haproxy 3.4,2.6)

bench-scale: setup ## Those with thousands of services, on a Swarm in memory (ARGS="events --services 1000")
	$(PYTHON) -m benchmarks.scale $(ARGS)

# BASE=rev [HEAD=rev] [ONLY="name …"] [ARGS="--rounds 9 --margin 1.2"]
bench-compare: setup ## Micro benchmarks of two revisions by turns, and the gates of results: BASE=rev
	@[ -n "$(BASE)" ] || { echo "which revision? make bench-compare BASE=main~1"; exit 2; }
	@$(PYTHON) -m benchmarks.compare $(BASE) $(HEAD) $(if $(ONLY),--only $(ONLY)) $(ARGS)

figures: ## Write what benchmarks/results/ says: docs/performance.md, its plots, README.md; gates of new ratios
	@$(PYTHON) -m benchmarks.gates --record
	@$(PYTHON) -m benchmarks.figures

acceptance: setup ## The acceptance list, item by item, with the tests that show it and their results
	$(PYTHON) -m tests.acceptance $(ARGS)

wheelhouse: setup ## Fetch what deploy/Dockerfile needs to build an image without network
	@$(PYTHON) -m scripts.wheelhouse $(SERIES)

image: setup ## Build the image l7:dev as an archive for docker load
	@$(PYTHON) -m testbed.image $(SERIES)

clean: ## Remove what was built (not .cache/, where downloads are kept)
	rm -rf .venv build wheelhouse *.egg-info l7/_fastpath.c l7/_fastpath.html l7/_fastpath.*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
