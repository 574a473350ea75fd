# quietspike: set up, run, check. Everything is installed into .venv, and again only when what is needed has changed.
# ARGS are handed on: make search ARGS="experiments/nmnist-small.yaml --train.epochs 5", make test ARGS="-k placement".

PYTHON ?= python3
JOBS ?= 2
ARGS ?=

PROJECTS := $(wildcard packages/*/pyproject.toml)
PIP_INSTALL := .venv/bin/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt

.PHONY: help search test check verify clean

help: ## show these targets
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 15

search: .venv/.packages ## set up, then search where attention belongs; the embedded default without ARGS
	.venv/bin/quietspike search $(ARGS)

test: .venv/.tools ## set up, then the fast tests, JOBS (2) at a time
	.venv/bin/pytest -m "not slow" -n $(JOBS) --dist loadscope $(ARGS)

check: .venv/.tools ## set up, then lint, format, types and layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

verify: .venv/.tools ## set up, then the slow tests, JOBS (2) at a time: wheels in fresh environments, fuzzing, faults
	.venv/bin/pytest -m slow -v -n $(JOBS) --dist loadscope $(ARGS)

clean: ## remove the environment and all that tools leave behind, never the searches in runs/
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find packages tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.packages: $(PROJECTS) constraints.txt
	@echo "Setting up .venv: the packages (a minute or two the first time)"
	@$(PYTHON) -m venv .venv
	@$(PIP_INSTALL) "pip>=25.1" # the first that knows dependency groups
	@$(PIP_INSTALL) --editable packages/core --editable packages/attention --editable packages/datasets \
		--editable "packages/search[ray]"
	@touch $@

.venv/.tools: .venv/.packages pyproject.toml
	@echo "Setting up .venv: the tools for tests and checks"
	@$(PIP_INSTALL) --group dev
	@$(PIP_INSTALL) --no-deps spikingjelly==2.0.0 # whose torchvision does not load beside a CPU build of torch
	@touch $@
