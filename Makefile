# Each target makes what it needs on a machine that has only Python 3.11+ and make.
PYTHON ?= python3
SOURCE ?=
BIN := .venv/bin

.PHONY: demo test dev lint docs bench clean

# What runs: the package and its pinned dependencies. What checks: the same and the `dev` extra.
.venv/run.done: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable .
	touch $@

.venv/dev.done: .venv/run.done
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable ".[dev]"
	touch $@

demo: .venv/run.done
	$(BIN)/mdlc demo $(if $(SOURCE),--source "$(SOURCE)")

test: .venv/dev.done
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

dev: .venv/run.done
	$(BIN)/mdlc dev

lint: .venv/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/dev.done
	$(BIN)/mdlc reference --out docs/reference
	$(BIN)/zensical build --clean --strict

bench: .venv/dev.done
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .mdlc
