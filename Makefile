# Every target sets itself up first (scripts/setup), so each works in a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help run test test-lab test-package lab lab-down lab-guest lab-short tour bench-exporter bench-promql bench-placement bench-actuator bench-policies check golden wheel deb dashboards pictures docs clean

python := .venv/bin/python
LAB_GUESTS ?= 2
lab_tests := tests/lab tests/test_actuator_faults.py tests/unit/*virt*.py --ignore=tests/lab/test_package.py

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: ## start both programs, in dry run; APPLY=1 acts, EXPORTER_PORT=N and ACTUATOR_PORT=N move them
	@scripts/run

test: ## run the tests that need no root and change nothing on this host
	@scripts/setup
	$(python) -m pytest --ignore=tests/lab -n auto --dist loadfile --no-loadscope-reorder

test-lab: ## as root: test on real guests and the real kernel, then leave the host as it was
	@[ "$$(id -u)" = 0 ] || { echo "make test-lab needs root, for a libvirtd and guests of its own" >&2; exit 1; }
	@scripts/setup lab
	$(python) -m pytest $(lab_tests) || { [ $$? = 1 ] && echo "once more what failed, by itself: emulated guests on a busy machine can be late" >&2 && \
	$(python) -m pytest $(lab_tests) --last-failed --last-failed-no-failures none; }

test-package: ## as root: build the .deb, install it on a minimal Debian, and boot that
	@scripts/setup machine
	$(python) -m pytest tests/lab/test_package.py

lab: ## as root: start real guests in a libvirtd of their own; LAB_GUESTS=N is how many
	@scripts/setup lab
	@$(python) -m tests.lab up --guests $(LAB_GUESTS)

lab-down: ## remove all that `make lab` made
	@scripts/setup
	@$(python) -m tests.lab down

lab-guest: ## have a guest do something, as in: make lab-guest G=1 C="fill 100"
	@scripts/setup
	@$(python) -m tests.lab guest $(or $(G),$(error say which guest: make lab-guest G=1 C="fill 100")) $(or $(C),$(error say what it shall do: make lab-guest G=1 C="fill 100"))

lab-short: ## as root: keep the host short of memory until Ctrl-C, so that the rules have something to do
	@scripts/setup
	@$(python) -m tests.lab short

tour: ## as root: walk through the classic steps of tuning KVM on real guests, with numbers; TOUR="--help" tells the options
	@[ "$$(id -u)" = 0 ] || { echo "make tour needs root, for a libvirtd and guests of its own" >&2; exit 1; }
	@scripts/setup lab
	@$(python) -m tests.lab.tour $(TOUR)

bench-exporter: ## as root: measure the exporter's cost next to its peers; BENCH="--help" tells the options
	@scripts/setup lab
	@$(python) -m benchmarks.exporter $(BENCH)

bench-promql: ## measure rules next to a real Prometheus, which is fetched; BENCH="--help" tells the options
	@scripts/setup
	@$(python) -m benchmarks.promql $(BENCH)

bench-placement: ## measure plans of vCPU placement, on hosts that are made up
	@scripts/setup
	@$(python) -m benchmarks.placement

bench-actuator: ## measure ticks, reaction and use of the actuator; BENCH="--help" tells the options
	@scripts/setup lab
	@$(python) -m benchmarks.actuator $(BENCH)

bench-policies: ## as root, three hours: the autopilot next to its peers; BENCH="--help" tells the parts
	@scripts/setup lab
	@$(python) -m benchmarks.policies $(BENCH)

check: ## ruff and mypy --strict
	@scripts/setup
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

golden: ## write the golden outputs of the fixture hosts anew; look at the diff
	@scripts/setup
	$(python) -m tests.golden

wheel: ## build dist/kvmtune-VERSION-py3-none-any.whl, with man pages and shell completions
	@scripts/setup
	@scripts/build wheel

deb: ## build dist/kvmtune_VERSION_ARCH.deb, for this distribution and kind of machine; docs/install.md installs it
	@scripts/setup deb
	@scripts/build deb

dashboards: ## render grafana/dashboards/*.json anew from the code in grafana/
	@scripts/setup
	$(python) -m grafana

pictures: ## as root, ten minutes: draw docs/pictures anew, on data of the lab; needs npm and Chromium
	@scripts/setup lab
	$(python) -m tests.lab.pictures

docs: ## build site/ from docs/; a link that leads nowhere is an error
	@scripts/setup docs
	$(python) -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees docs site
	@echo site/index.html

clean: ## remove .venv, every cache, and what was built
	rm -rf .venv .lab/cache grafana/pictures/node_modules grafana/pictures/package-lock.json .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist site
	find . -name __pycache__ -prune -exec rm -rf {} +
