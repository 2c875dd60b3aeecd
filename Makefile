# The one door: every task of the project is a target here. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
FOR ?= 1m
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
KAFKA_LIBS := .cache/kafka/libs/.ready

.DEFAULT_GOAL := help
.PHONY: help install uninstall try-install image run test unit bench simulate torture torture-workers soak faults \
	lint format schema events metrics dashboard security-page audit dist sbom lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(READY): .ci/requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(KAFKA_LIBS): tests/broker/kafka/pom.xml # the jars of one Kafka node, for the broker tests
	mvn -B -q -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(abspath $(@D))
	@touch $@

run: $(READY) ## Set up and run the demo on the embedded broker for a minute (FOR=10m: longer); no Kafka needed
	$(BIN)/dispatcher demo --for $(FOR)

test: $(READY) $(KAFKA_LIBS) ## Set up, start a real Kafka and run every test but the long ones
	@status=0; $(BIN)/pytest -m "not long" -n auto --dist worksteal tests/unit tests/simulation || status=1; \
	$(BIN)/pytest -m "not long" -n 2 --dist loadfile $(addprefix --ignore tests/,unit simulation torture) || status=1; \
	$(BIN)/pytest -m "not long" tests/torture || status=1; exit $$status

unit: $(READY) ## Run the unit tests alone: no broker
	$(BIN)/pytest -m "not long" tests/unit

BENCH := $(addprefix --only ,$(ONLY)) $(if $(SCALE),--scale $(SCALE))

bench: $(READY) $(KAFKA_LIBS) ## Measure speed and memory on a real Kafka: an hour; ONLY=burst, SCALE=0.1
	PYTHONPATH=tests $(BIN)/python -m bench $(BENCH) --json $(if $(strip $(BENCH)),.cache/bench.json,tests/bench/results/latest.json)

N ?= 10000
JOBS ?= 2
simulate: $(READY) ## Run N=10000 random histories of replicas in memory from SEED; print the shrunk trace of a failure
	PYTHONPATH=tests $(BIN)/python -m simulation --histories $(N) --jobs $(JOBS) $(if $(SEED),--seed $(SEED))

KILLS ?= 1000
torture: $(READY) $(KAFKA_LIBS) ## Kill, pause and mislead replicas and brokers: KILLS=1000, 50 minutes; fail if a fire is lost or doubled
	PYTHONPATH=tests $(BIN)/python -m torture --kills $(KILLS) $(if $(SEED),--seed $(SEED))

torture-workers: $(READY) $(KAFKA_LIBS) ## Kill workers while they run what was fired: KILLS=500, 30 minutes; fail unless every fire ends once
	PYTHONPATH=tests $(BIN)/python -m torture.workers --kills $(if $(filter file,$(origin KILLS)),500,$(KILLS)) $(if $(SEED),--seed $(SEED))

image: $(READY) $(KAFKA_LIBS) ## Build the container image, no engine needed, and try it on a real Kafka, as root: 4 minutes
	.ci/image

MINUTES ?= 30
soak: $(READY) $(KAFKA_LIBS) ## Load, edits and kills for MINUTES=30; fail if memory, descriptors or threads grow, or a fire is amiss
	PYTHONPATH=tests $(BIN)/python -m soak --minutes $(MINUTES) --json .cache/soak.json $(if $(SEED),--seed $(SEED))

faults: $(READY) $(KAFKA_LIBS) ## Run the tests that take minutes, most of them faults; the image's are in `image`
	$(BIN)/pytest -m long --ignore tests/container tests

lint: $(READY) ## Check style, types, the direction of imports, the README's links, the schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/links.py README.md CHANGELOG.md SECURITY.md dispatcher/*.md docker/prometheus/RUNBOOK.md
	$(BIN)/dispatcher schema | diff schedule/schedule.schema.json -

format: $(READY) ## Let ruff lay out the code and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

events: $(READY) ## Write dispatcher/EVENTS.md from the table of log events
	made=$$($(BIN)/dispatcher events) && echo "$$made" > dispatcher/EVENTS.md

metrics: $(READY) ## Write dispatcher/METRICS.md from the table of metrics
	made=$$($(BIN)/dispatcher metrics) && echo "$$made" > dispatcher/METRICS.md

dashboard: $(READY) ## Write Grafana's dashboard from its maker
	made=$$($(BIN)/python .ci/dashboard.py) && echo "$$made" > docker/grafana/dashboards/dispatcher.json

security-page: $(READY) ## Write the table of rights into SECURITY.md
	$(BIN)/python .ci/rights.py

audit: ## Ask what is known against the locked packages; install them offline, and not with another hash
	.ci/audit $(PYTHON) .cache/audit

dist: $(READY) ## Build sdist and wheel, the same bytes from the same sources
	$(BIN)/python .ci/dist dist

sbom: $(READY) ## Write the bill of materials of the lock
	$(BIN)/python .ci/sbom > sbom.json

schema: $(READY) ## Write schedule/schedule.schema.json from the models
	made=$$($(BIN)/dispatcher schema) && echo "$$made" > schedule/schedule.schema.json

install uninstall: export DESTDIR := $(DESTDIR)
install uninstall: export PREFIX := $(or $(PREFIX),/usr/local)
install uninstall: export PYTHON := $(if $(filter file,$(origin PYTHON)),/usr/bin/python3,$(PYTHON))

install: ## Install on this host, for systemd: DESTDIR=, PREFIX=/usr/local, PYTHON=/usr/bin/python3, WITH=requirements.txt
	systemd/install

uninstall: ## Take away what install brought; settings, schedule and secrets stay
	systemd/install uninstall

try-install: $(READY) $(KAFKA_LIBS) ## Try all of that on a clean Debian booted beside this one, as root: 4 minutes, then 3
	.ci/try-install

lock: ## Pin every dependency with its hashes
	$(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet pip-tools
	.ci/lock .cache/lock/bin/pip-compile

clean: ## Remove what the other targets made
	rm -rf $(VENV) .cache build dist *.egg-info
