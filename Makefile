# The commands of the README. PYTHON picks the interpreter that makes the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests at a time: most of them wait most of the time.
JOBS ?= 3
# Of the soak test.
READERS ?= 2
MINUTES ?= 10

TARGETS := run auth auth-device status tail doctor record replay test check docs soak soak-tokens bench \
  bench-quick setup setup-dev fetch-kafka clean help
.PHONY: $(TARGETS)

# The words behind `make record` and `make replay` are files, and no targets.
COMMAND := $(filter record replay,$(firstword $(MAKECMDGOALS)))
ifneq ($(COMMAND),)
FILES := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
ifeq ($(or $(FILES),$(FILE)),)
$(error usage: make $(COMMAND) $(if $(filter record,$(COMMAND)),chat.irc.gz,chat-*.irc.gz))
endif
ifneq ($(or $(filter $(TARGETS),$(FILES)),$(findstring :,$(FILES)),$(findstring %,$(FILES))),)
$(error "$(FILES)" cannot stand there, as make has another meaning for it: write make $(COMMAND) FILE=…)
endif
ifneq ($(FILES),)
FILE := $(FILES)
.PHONY: $(FILES)
$(FILES): ; @:
endif
export FILE
endif

help:
	@echo "make run     run everything in the foreground, Ctrl-C stops it"
	@echo "make auth    sign in with Twitch in a browser; make auth-device: on another device"
	@echo "make status  show channels and workers (ARGS=… for its options, as for the next two)"
	@echo "make tail    show the messages as they arrive in Kafka"
	@echo "make doctor  check settings, token, Kafka, Twitch and the flow, and say what to do"
	@echo "make record  keep the raw lines of the channels: make record chat.irc.gz, a file for each hour"
	@echo "make replay  play such files into Kafka, each message once: make replay chat-*.irc.gz"
	@echo "make test    run the whole test suite, real Kafka included"
	@echo "make soak    break something every few seconds for ten minutes under load (READERS=1, MINUTES=…)"
	@echo "make bench   measure this service beside other designs, a quarter of an hour; make bench-quick: a minute"
	@echo "make check   format, lint, types, tests"
	@echo "make setup   make the virtual environment only"
	@echo "make clean   remove the virtual environment and caches, no data"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making the virtual environment in $(VENV) …"
	@# A half one must not count as made.
	@$(PYTHON) -m venv $(VENV) || { rm -f $(BIN)/python; exit 1; }

$(VENV)/.installed: requirements.txt requirements-embedded.txt constraints.txt | $(BIN)/python
	@echo "installing what the service needs (about 60 MB) …"
	@$(BIN)/python commands/install.py requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "installing what the tests need …"
	@$(BIN)/python commands/install.py requirements-dev.txt
	@touch $@

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

fetch-kafka: setup
	@$(BIN)/python -m workers.kafka_jars

run: fetch-kafka
	@exec $(BIN)/python -m commands.run

auth: setup
	@exec $(BIN)/python -m commands.auth

auth-device: setup
	@exec $(BIN)/python -m commands.auth_device

status: setup
	@exec $(BIN)/python -m commands.status $(ARGS)

tail: setup
	@exec $(BIN)/python -m commands.tail $(ARGS)

doctor: setup
	@exec $(BIN)/python -m commands.doctor $(ARGS)

record: setup
	@exec $(BIN)/python -m commands.record "$$FILE"

# Several files and patterns are for the shell to take apart.
replay: setup
	@exec $(BIN)/python -m commands.replay $$FILE

test: setup-dev
	@$(BIN)/python -m workers.kafka_jars
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

docs: setup
	@$(BIN)/python -m commands.event_docs

soak: setup-dev
	@$(BIN)/python -m workers.kafka_jars
	@$(BIN)/python -m tests.soak --readers-per-channel $(READERS) --minutes $(MINUTES) $(ARGS)

soak-tokens: setup-dev
	@$(BIN)/python -m workers.kafka_jars
	@TOKEN_TRIAL_SECONDS=120 $(BIN)/python -m pytest -q -s --no-header --timeout 400 tests/processes/test_token_life.py -k five_seconds

bench: setup-dev
	@$(BIN)/python -m workers.kafka_jars
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-quick: setup-dev
	@$(BIN)/python -m workers.kafka_jars
	@$(BIN)/python -m tests.benchmarks --quick $(ARGS)

check: setup-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@MYPYPATH=. $(BIN)/mypy supervisor/channel_sync.py supervisor/watchdog.py supervisor/preload.py supervisor/plugin.py
	@$(MAKE) --no-print-directory test

clean:
	rm -rf $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
