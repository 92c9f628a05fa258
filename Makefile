PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed
# Files of tests start in the order of tests/conftest.py, and not by their number of tests.
TEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: quickstart check test lint format docs clean
quickstart: $(READY) ; $(BIN)/detector quickstart
check: lint ; $(TEST) -m "not slow" tests
test: $(READY) ; $(TEST)
lint: $(READY) ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
format: $(READY) ; $(BIN)/ruff check --fix . && $(BIN)/ruff format .
docs: $(READY) ; $(BIN)/python -m pip install --quiet --group docs && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
clean: ; rm -rf $(VENV) quickstart build dist
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # the first that installs dependency groups
	$(BIN)/python -m pip install --quiet --editable '.[imagenet,evidence,serve]' --group dev
	touch $@
