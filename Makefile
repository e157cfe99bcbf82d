# The commands of a checkout. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
FUZZ_SECONDS ?= 60
SIZES ?= 10,30,100,300,1000
# Images need root, for their files belong to several users.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
export PROXMOX_SANDBOX_IMAGES := $(CURDIR)/build/images
export PROXMOX_SANDBOX_COMMAND := $(CURDIR)/build/release/src/cli/proxmox-sandbox
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/build/release/src/cli:$(PATH)
export NINJA_STATUS := [%f/%t] 

.PHONY: help setup build program image small-image demo test lint bench endurance scale fuzz clean

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## Install what is missing: Debian packages, and Python packages into .venv
	@tools/setup

build: setup ## Build the command, the Python module and the unit tests
	@tools/build release

image: setup ## Build the guest images debian13-small and debian13
	@$(AS_ROOT) guest-images/build.sh debian13-small --out build/images
	@$(AS_ROOT) guest-images/build.sh debian13 --out build/images

small-image: setup # What the demo and the bench need
	@$(AS_ROOT) guest-images/build.sh debian13-small --out build/images

program: setup # What an evaluation needs, without the tests
	@tools/build release proxmox-sandbox _core

demo: program small-image ## Two Inspect evaluations in real VMs on a local node, from nothing
	@$(PYTHON) examples/demo.py build/demo

test: setup ## Run every test; STEP=name runs one step (tools/run-tests --list)
	@$(PYTHON) tools/run-tests $(STEP)

lint: setup ## clang-format, clang-tidy, ruff, mypy, shellcheck
	@tools/lint

bench: program small-image ## Measure requests, overhead and start times on a local node
	@$(PYTHON) bench/bench.py build/bench
	@$(PYTHON) bench/images.py build/bench-images

endurance: program small-image ## Half an hour of samples in real VMs with kills: what grows?
	@$(PYTHON) bench/endurance.py build/endurance

scale: program ## Measure how the provider grows, on simulated hosts with SIZES VMs in all
	@$(PYTHON) bench/scale.py build/scale --sizes $(SIZES)

fuzz: setup ## Fuzz the parsers of outside bytes, FUZZ_SECONDS each (60)
	@tools/fuzz $(FUZZ_SECONDS)

clean: ## Remove what was built (not .venv)
	rm -rf build python/proxmoxsandbox/_core*.so
