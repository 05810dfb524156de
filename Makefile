# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
# PyPI's torch brings CUDA (several GB). For the CPU build:
#   make run TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_TORCH := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  %-16s %s\n", $$1, $$2}'

$(VENV)/.runtime: requirements.txt
	@echo "==> Installing the runtime packages into $(VENV) (once; torch is large)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_TORCH) -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@echo "==> Installing the development packages into $(VENV)"
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_TORCH) -r requirements-dev.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/.dev ## Make .venv with all pins

.PHONY: run
run: $(VENV)/.runtime ## Start the live demo at http://127.0.0.1:8000 (PORT=… for another port, ARGS=--no-replay)
	$(BIN)/python manage.py demo --port $(PORT) $(ARGS)

.PHONY: test
test: $(VENV)/.dev ## Run the whole test suite, a process more than cores (up to 4); ARGS="-n 0 -k …" for some of it
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## ruff, format check, mypy, import contracts, bandit, migrations and deployment checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive \
		api dashboard deploy ingestion modeling sentiment_site manage.py
	$(BIN)/python manage.py makemigrations --check --dry-run
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') SECURE_SITE=1 \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

.PHONY: format
format: $(VENV)/.dev ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.dev ## Run the benchmarks (BENCH_DATA names the folder of public labelled posts)
	$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: bench-starter
bench-starter: $(VENV)/.dev ## Train the starter model and judge it on real posts, beside baselines
	$(BIN)/python -m tests.benchmarks.starter $(ARGS)

.PHONY: bench-accuracy
bench-accuracy: $(VENV)/.dev ## Train on public posts with a teacher, and judge (over an hour; ARGS=--alone: minutes)
	$(BIN)/python -m tests.benchmarks.accuracy $(ARGS)

.PHONY: lint-deploy
lint-deploy: $(VENV)/.dev ## Check Dockerfile, compose, Kubernetes, Prometheus, Grafana and workflow files
	$(BIN)/python -m pytest tests/site/test_deploy.py $(ARGS)

.PHONY: stack
stack: $(VENV)/.dev ## Start every service of docker-compose.yml from packages, without Docker (Ctrl-C stops)
	$(BIN)/python -m deploy.stack --port $(PORT) $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill, restart and take away each part of the stack under load; say what users saw
	$(BIN)/python -m tests.stack.chaos $(ARGS)

.PHONY: audit
audit: $(VENV)/.dev ## Look for known holes in the packages of .venv (asks pypi.org)
	$(BIN)/pip-audit --local --progress-spinner off $(ARGS)

.PHONY: sbom
sbom: $(VENV)/.dev ## Write the parts list of .venv, with licences, to var/sbom.cdx.json (CycloneDX)
	@mkdir -p var
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --of JSON \
		--output-file var/sbom.cdx.json

.PHONY: endurance
endurance: $(VENV)/.dev ## An hour of steady load on the stack: do memory, connections and waiting stay flat?
	$(BIN)/python -m tests.stack.endurance $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Send 200 made-up requests to each operation of the API (FUZZ_EXAMPLES=…)
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-200} $(BIN)/python -m pytest tests/api/test_schema_fuzz.py $(ARGS)

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Write each page, wide and narrow, light and dark, to var/screenshots/
	$(BIN)/python -m tests.screenshots $(ARGS)

.PHONY: messages
messages: $(VENV)/.dev ## Gather texts to translate into locale/, and compile them (needs gettext)
	for domain in django djangojs; do $(BIN)/python manage.py makemessages -a -d $$domain --no-location --no-wrap --no-obsolete -i .venv -i var -i tests; done
	$(BIN)/python manage.py compilemessages -i .venv

.PHONY: clean
clean: ## Remove the environment and everything that the program has written
	rm -rf $(VENV) var
