PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test lint format clean
quickstart: $(VENV)/.installed ; $(BIN)/detector quickstart
test: $(VENV)/.installed ; $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
lint: $(VENV)/.installed ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
format: $(VENV)/.installed ; $(BIN)/ruff check --fix . && $(BIN)/ruff format .
clean: ; rm -rf $(VENV) quickstart build dist
$(VENV)/.installed: pyproject.toml ; $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --editable '.[imagenet,test]' && touch $@
