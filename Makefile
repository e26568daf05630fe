# make demo | test | check | bench, on a fresh machine with Python 3.10 or newer; each makes .venv first.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check bench clean

demo: $(INSTALLED)
	mkdir -p out
	$(BIN)/keysync demo -o out/demo.mp4 --report out/demo.json

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench

# torch first and by itself: the constraints file keeps every later package from replacing it.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[cli,mediapipe,training,ray,dev]"
	touch $@

clean:
	rm -rf $(VENV) out
