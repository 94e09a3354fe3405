# HandyRep. `make help` lists everything; nothing here needs anything but python3 (3.11 or newer) and make.

VENV   ?= .venv
PYTHON ?= python3
PY     := $(VENV)/bin/python
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check fix docs mutants mutation simulate bench paired switchovers cost benign killed outcomes soak clean system

help: ## List what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.demo ## Watch a real PostgreSQL master die and a replica take over (ARGS="--once --json")
	@$(PY) -m handyrep.sandbox $(ARGS)

test: system $(VENV)/.dev ## Everything: format, lint, types, layers, house rules, all tests with the lab (as root)
	@VENV=$(VENV) scripts/check.sh

check: $(VENV)/.dev ## The same without the lab; needs no root
	@VENV=$(VENV) scripts/check.sh -m "not lab and not root"

fix: $(VENV)/.dev ## Format the code and repair what the linter can repair
	@$(VENV)/bin/ruff check --fix -q src tests scripts bench soak; $(VENV)/bin/ruff format -q src tests scripts bench soak

docs: $(VENV)/.dev ## Make the generated pages and the sample configuration again
	@$(PY) -m scripts.make_docs

mutants: $(VENV)/.dev ## Put old faults back, one by one, and see a test catch each
	@$(PY) scripts/mutants.py $(ARGS)

mutation: $(VENV)/.dev ## Change decide/ in every small way and see that a test notices (ARGS="--module promise", ARGS=--write)
	@$(PY) -m tests.mutation $(ARGS)

simulate: $(VENV)/.dev ## Fail over 50,000 times in imagined clusters and look at every invariant (ARGS="--failovers N --seed S --json")
	@$(PY) -m tests.simulation.simulate $(ARGS)

bench: system $(VENV)/.dev ## Measure failovers in the lab, as root (ARGS=--json)
	@$(PY) -m bench.failover $(ARGS)

paired: system $(VENV)/.dev ## Measure this tree against another commit, in turns, as root (ARGS="COMMIT --only 'crash fast' --turns 5")
	@$(PY) -m bench.paired $(ARGS)

switchovers: system $(VENV)/.dev ## Change the master 50 times under 64 clients, and tell what they saw, as root (ARGS="--n N --json")
	@$(PY) -m bench.planned $(ARGS)

cost: system $(VENV)/.dev ## What HandyRep costs for 3 to 100 servers: time, CPU, memory, connections, as root (ARGS=--json)
	@$(PY) -m bench.cost $(ARGS)

benign: system $(VENV)/.dev ## Events that are no reason to fail over: 1,000 imagined ones, and real ones in the lab, as root (ARGS="-n N")
	@$(PY) -m tests.simulation.benign -n 1000
	@$(PY) -m bench.benign $(ARGS)

killed: system $(VENV)/.dev ## Kill the real process before and after every record of its journal, in real failovers, as root
	@$(PY) -m bench.killed $(ARGS)

soak: system $(VENV)/.dev ## Fail over for real, 200 times, and judge what clients were told, as root (N=10, ARGS="--seed S --control asynchronous")
	@$(PY) -m soak $(if $(N),-n $(N)) $(ARGS)

outcomes: system $(VENV)/.dev ## Break clusters with the ready configurations and see what comes of it, as root (ARGS="--write")
	@$(PY) -m bench.outcomes $(ARGS)

system: ## Install the Debian packages that the lab needs, when root and they are missing
	@scripts/system_packages.sh

clean: ## Remove the environment and everything that can be made again
	@rm -rf $(VENV) build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info

$(VENV)/bin/python:
	@scripts/make_venv.sh "$(PYTHON)" "$(VENV)"

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	@echo "Preparing the environment in $(VENV) …"
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	@echo "Preparing the environment in $(VENV) …"
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[dev,demo]'
	@touch $@ $(VENV)/.demo
