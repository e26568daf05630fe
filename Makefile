# make demo | test | check | fuzz | bench | bench-gpu | bare, on a fresh machine with Python 3.10 or newer, its venv, make and git.
# Each makes .venv first; `make test NUMPY=1.26.4` makes one of its own with that NumPy.
VENV ?= .venv$(NUMPY:%=-numpy-%)
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt
COMFY_CLI := .venv-comfy-cli

.PHONY: demo test check fuzz bench bench-gpu bare comfy-cli clean

demo: $(VENV)/.demo
	mkdir -p out
	$(BIN)/keysync demo -o out/demo.mp4 --report out/demo.json
	$(BIN)/keysync demo --system rewrite -o out/demo-rewrite.mp4 --report out/demo-rewrite.json

test: $(VENV)/.all comfy-cli
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.run

check: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Damaged files of every kind, read: 10 000 or CASES of them, made from the SEED.
CASES ?= 10000
SEED ?= 0
fuzz: $(VENV)/.all
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(SEED)

bench: $(VENV)/.all
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench

# With a Python of yours whose torch has CUDA: nothing is installed.
bench-gpu:
	$(PYTHON) -m tests.bench gpu

# The demo and the tests on a Debian that has nothing else.
bare:
	tests/bare/run

$(VENV)/constraints.txt: constraints.txt
	$(PYTHON) -m venv $(VENV)
	sed '$(if $(NUMPY),s/^numpy==.*/numpy==$(NUMPY)/)' constraints.txt > $@

# torch first and by itself: the constraints file keeps every later package from replacing it.
$(VENV)/.demo: pyproject.toml $(VENV)/constraints.txt
	$(PIP) torch
	$(PIP) --editable ".[cli]"
	touch $@

# face-alignment asks for the OpenCV that needs a display; without its dependencies it works with the one that does not.
$(VENV)/.all: $(VENV)/.demo
	$(PIP) --editable ".[cli,training,ray,dev]"
	$(PIP) --no-deps face-alignment
	touch $@

# By itself: what comfy-cli needs is nobody else's business.
comfy-cli: $(COMFY_CLI)/.installed

$(COMFY_CLI)/.installed: tests/host/comfy-cli.txt
	$(PYTHON) -m venv $(COMFY_CLI)
	$(COMFY_CLI)/bin/python -m pip install --quiet --requirement $<
	touch $@

clean:
	rm -rf .venv .venv-* out
