# Everything that a user or a developer runs. Needs Python 3.11 to 3.13 with
# pip and venv; each target makes the virtual environment that it lacks.

PYTHON ?= python3
VENV := .venv
VENV_JAX := .venv-jax
CONFIG := configs/bert_tiny_pretrain.flags
MODEL_DIR := runs/bert_tiny_pretrain
# For pytest, as in: make test ARGS="-k masking"
ARGS :=

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.PHONY: help quickstart test test-all check format docs test-jax clean
.DELETE_ON_ERROR:

help:
	@echo "make quickstart  install, pretrain a tiny BERT, fill some masks"
	@echo "make test        install, run the tests"
	@echo "make test-all    the same with the wide matrices of cases"
	@echo "make check       lint, types and tests"
	@echo "make format      rewrite the files in the project's format"
	@echo "make docs        write the documentation to site/"
	@echo "make test-jax    layers and models on Keras' JAX backend"
	@echo "make clean       delete environments, builds and caches"

# Level 3: TensorFlow calls an attribute of its own an error at level 2.
quickstart: export TF_CPP_MIN_LOG_LEVEL = 3
quickstart: $(VENV)/.installed
	$(VENV)/bin/python -m tfllm.train --flagfile=$(CONFIG)
	@printf '%s\n' \
	    'Returns the [MASK] of the array.' \
	    'If true, the [MASK] is sorted.' \
	    'The default [MASK] is None.' \
	    | $(VENV)/bin/python -m tfllm.predict --model_dir=$(MODEL_DIR)
	@echo "Model folder: $(CURDIR)/$(MODEL_DIR)"

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m tools.check test $(ARGS)

test-all: $(VENV)/.installed-test
	$(VENV)/bin/python -m tools.check test-all $(ARGS)

check: $(VENV)/.installed-dev
	$(VENV)/bin/python -m tools.check all

format: $(VENV)/.installed-dev
	$(VENV)/bin/python -m tools.check format

# Warnings are errors; nothing is loaded from the network.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.installed-docs
	$(VENV)/bin/python -m mkdocs build --strict
	@echo "Documentation: $(CURDIR)/site/index.html"

# Own environment: what runs there must not need TensorFlow.
test-jax: $(VENV_JAX)/.installed
	KERAS_BACKEND=jax $(VENV_JAX)/bin/python -m pytest \
	    tests/models/test_parity.py tests/layers

clean:
	rm -rf $(VENV) $(VENV_JAX) build dist site *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV_JAX)/bin/python:
	$(PYTHON) -m venv $(VENV_JAX)

# Editable, so that only a change of setup.py calls for another install.
$(VENV)/.installed: setup.py | $(VENV)/bin/python
	@echo "Installing tfllm into $(VENV); TensorFlow is a large download."
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: setup.py | $(VENV)/bin/python
	@echo "Installing tfllm into $(VENV); TensorFlow is a large download."
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: setup.py | $(VENV)/bin/python
	@echo "Installing tfllm into $(VENV); TensorFlow is a large download."
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: setup.py | $(VENV)/bin/python
	@echo "Installing tfllm into $(VENV); TensorFlow is a large download."
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-test \
	    $(VENV)/.installed-docs

$(VENV_JAX)/.installed: setup.py | $(VENV_JAX)/bin/python
	$(VENV_JAX)/bin/python -m pip install --quiet \
	    'keras>=3.15,<4' jax numpy safetensors pytest
	touch $@
