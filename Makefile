# make demo    who logged in where in clear, on the sample captures
# make test    everything that must hold: lint, types, import rules, pure and compiled tests
# make bench   mailtap beside its peers, one table (BENCH="--scale 0.1 --runs 3" for a quick one)
# make lint    lint, types and import rules only; as `make test-pure` and `make format`, it compiles nothing
#
# PYTHON=python3.12   the interpreter that makes .venv (default: the first of 3.11 or later that can)
# MAILTAP_PURE=1      do not compile: seconds instead of about three minutes, and a mailtap that is several times slower

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := demo
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin

# What the office of real clients and a real server needs; root as well, and the right to make network namespaces.
LAB_TOOLS := /usr/lib/dovecot/imap:dovecot-imapd:lab /usr/lib/dovecot/pop3:dovecot-pop3d:lab curl:curl:lab fetchmail:fetchmail:lab tcpdump:tcpdump:lab dumpcap:wireshark-common:lab openssl:openssl:lab ip:iproute2:lab

# What tests need beside Python, as command:Debian package:pytest marker. What cannot be had is left out, and said.
TEST_TOOLS := tshark:tshark:tshark chromium:chromium:browser systemd-analyze:systemd:systemd pg_ctlcluster:postgresql:postgres $(LAB_TOOLS)

# Interpreters that can make .venv: those with C headers first, because only they can compile.
CANDIDATES := python3.11 python3.12 python3.13 python3 /usr/bin/python3
CAN_MAKE_VENV := import os, sys, sysconfig, venv, ensurepip; \
	headers = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")); \
	sys.exit(sys.version_info < (3, 11) or ("--headers" in sys.argv and not headers))
PYTHON ?= $(shell for option in --headers ""; do for python in $(CANDIDATES); do \
	$$python -c '$(CAN_MAKE_VENV)' $$option >/dev/null 2>&1 && echo $$python && exit 0; done; done)

# A C compiler and Python's headers: both, or the build goes pure.
CAN_COMPILE := command -v $${CC:-cc} >/dev/null && $(BIN)/python -c 'import os, sys, sysconfig; \
	sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'

# Tests run side by side, a file at a time: some share a server or a browser within their file.
PARALLEL := -n auto --dist loadfile

SOURCES := $(shell find analyzer -name '*.py' -o -path '*/page/*' -o -path '*/deploy/*' -o -name '*.toml') setup.py setup.cfg pyproject.toml

# The working folder must never shadow the installed package, neither in tests nor in the commands they start.
export PYTHONSAFEPATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pip, and so the C compiler, on a terminal or not: never ask
export PIP_NO_INPUT := 1

.PHONY: demo test test-pure test-compiled test-all-pythons bench lint format clean test-tools

# Two of pip's at once would be in each other's way.
.NOTPARALLEL:

demo: $(VENV)/installed
	@$(BIN)/mailtap analyze captures/office.pcapng

test: $(VENV)/tools $(VENV)/installed test-tools
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-pure
	@$(MAKE) --no-print-directory test-compiled

# The source tree, interpreted; without the tests that take long or need other programs.
test-pure: $(VENV)/tools
	@echo "== quick tests, interpreted"
	@PYTHONPATH="$(CURDIR)" MAILTAP_EXPECT=pure $(BIN)/pytest $(PARALLEL) -q -m "not slow and not tshark and not browser and not lab and not root and not systemd"

# The installed package: all tests. The last line of this is the last line of `make test`.
test-compiled: $(VENV)/tools $(VENV)/installed test-tools
	@kind=$$($(BIN)/python -c 'import analyzer._build as b; print(b.build_kind())'); \
	echo "== all tests, installed package ($$kind)"; \
	[ "$$kind" = compiled ] || echo "== NOT TESTED: the compiled build (no C compiler or headers here, or MAILTAP_PURE set)"; \
	if $(CAN_COMPILE) && [ -z "$${MAILTAP_PURE:-}" ]; then export MAILTAP_EXPECT=compiled; fi; \
	$(BIN)/pytest $(PARALLEL) -q -m "$$(cat build/markers)"

# Installs what tests need where this is Debian and we are root; writes the pytest marker expression to build/markers.
test-tools:
	@mkdir -p build; expression="slow or not slow"; updated=; \
	for tool in $(TEST_TOOLS); do \
	  IFS=: read -r program package marker <<<"$$tool"; \
	  if ! command -v $$program >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing $$package, which tests compare with"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    { { [ -n "$$updated" ] || apt-get -qq -o DPkg::Lock::Timeout=300 update; } && updated=yes && \
	      apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $$package; } >build/apt.log 2>&1 </dev/null \
	    || tail -3 build/apt.log; \
	  fi; \
	  if ! command -v $$program >/dev/null; then \
	    echo "== LEFT OUT: tests marked '$$marker', because $$program is not installed (Debian package $$package)"; \
	    expression="($$expression) and not $$marker"; \
	  fi; \
	done; \
	if ! { ip netns add mailtap-probe && ip netns del mailtap-probe; } >/dev/null 2>&1; then \
	  echo "== LEFT OUT: tests marked 'lab', because making network namespaces needs root (and a kernel that lets root)"; \
	  expression="($$expression) and not lab"; \
	fi; \
	if ! $(BIN)/python -c 'import os, socket; os.setuid(0); socket.socket(socket.AF_PACKET, socket.SOCK_RAW)' >/dev/null 2>&1; then \
	  echo "== LEFT OUT: tests marked 'root', because this is not root, or root that may not open packet sockets"; \
	  expression="($$expression) and not root"; \
	fi; \
	echo "$$expression" >build/markers

VERSIONS := 3.11 3.12 3.13

# The quick tests, interpreted, on every supported Python that is on this machine; says which are not.
test-all-pythons:
	@for version in $(VERSIONS); do \
	  found=; \
	  for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do \
	    if "$$python" -c '$(CAN_MAKE_VENV)' >/dev/null 2>&1; then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "== NOT TESTED: Python $$version is not on this machine"; continue; fi; \
	  echo "== Python $$version, interpreted ($$("$$found" --version))"; \
	  venv=build/venv-$$version; \
	  [ -x $$venv/bin/python ] || "$$found" -m venv $$venv; \
	  MAILTAP_PURE=1 $$venv/bin/pip install --quiet .[test]; \
	  PYTHONPATH="$(CURDIR)" MAILTAP_EXPECT=pure $$venv/bin/pytest $(PARALLEL) -q -m "not slow and not tshark and not browser and not lab and not root and not systemd" -p no:cacheprovider; \
	done

lint: $(VENV)/tools
	@echo "== lint, types, import rules"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "make format would change files"; exit 1; }
	@$(BIN)/mypy
	@PYTHONPATH="$(CURDIR)" $(BIN)/lint-imports

format: $(VENV)/tools
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

bench: $(VENV)/installed
	@PYTHONSAFEPATH= $(BIN)/python benchmarks/run.py $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "mailtap needs Python 3.11 or later with its venv module (Debian: python3-venv)"; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

# Built once, whatever is installed from it: compiling takes two or three minutes on two cores.
build/wheel: $(SOURCES) | $(VENV)/bin/python
	@echo "Building mailtap$$([ -n "$${MAILTAP_PURE:-}" ] || echo ": some minutes where it is compiled")"
	@rm -rf build/lib build/lib.* build/bdist.* build/temp.* build/wheels
	@$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/wheels .
	@touch $@

# The wheel, with what it needs; then the wheel again, for its version stays while its content changes.
$(VENV)/installed: build/wheel
	@$(BIN)/pip install --quiet build/wheels/*.whl
	@$(BIN)/pip install --quiet --force-reinstall --no-deps build/wheels/*.whl
	@$(BIN)/python -c 'import analyzer._build as b; print("mailtap is installed in $(VENV),", b.build_kind())'
	@touch $@

# Prints what mailtap and its extra `dev` need, a requirement a line.
define REQUIREMENTS
import configparser
setup = configparser.ConfigParser()
setup.read("setup.cfg")
extras = setup["options.extras_require"]
waiting = (setup["options"]["install_requires"] + "\nmailtap[dev]").split("\n")
for line in filter(None, waiting):
    if line.startswith("mailtap["):
        waiting += "\n".join(map(extras.get, line[8:-1].split(","))).split("\n")
    else:
        print(line)
endef
export REQUIREMENTS

# All but mailtap itself, so that tests of the source tree and lint wait for no compiler after an edit.
$(VENV)/tools: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing what tests need"
	@mkdir -p build
	@$(BIN)/python -c "$$REQUIREMENTS" >build/requirements.txt
	@$(BIN)/pip install --quiet -r build/requirements.txt
	@touch $@
