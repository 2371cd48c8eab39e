# The two commands: `make demo` and `make test`. Each sets up all that it needs. `make help` lists all.

# Empty: the defaults of pipeline/configs.py.
RUN ?=
STEPS ?=
SEED ?=
DATASET ?=
REGIONS ?=
VARIANTS ?=
BEAM ?=
BEAM_FILES ?=
CONFIGURATION ?=
WARM_START ?=
UPGRADE ?=

PYTHON_IN_VENV := .venv/bin/python
EXTRAS := --extra command --extra tensorflow --extra jax --extra genome --extra pipeline --extra notebook --extra dev
# TensorFlow's start-up chat; its errors still show.
QUIET := TF_CPP_MIN_LOG_LEVEL=2

.PHONY: help demo test test-all kubeflow kubeflow-test hosts-test cluster-test tpu-setup tpu-test docs setup data lint clean lock

SETTINGS = ENFORMER_RUN="$(RUN)" ENFORMER_STEPS="$(STEPS)" ENFORMER_SEED="$(SEED)" \
    ENFORMER_DATASET="$(DATASET)" ENFORMER_REGIONS="$(REGIONS)" ENFORMER_VARIANTS="$(VARIANTS)" ENFORMER_BEAM="$(BEAM)" \
    ENFORMER_BEAM_FILES="$(BEAM_FILES)" ENFORMER_CONFIGURATION="$(CONFIGURATION)" ENFORMER_WARM_START="$(WARM_START)"

demo: setup data ## trains on E. coli through the whole chain; RUN=, STEPS=, DATASET= and so on are its settings
	@$(QUIET) $(SETTINGS) $(PYTHON_IN_VENV) pipeline/local_runner.py
	@$(QUIET) $(SETTINGS) $(PYTHON_IN_VENV) -m pipeline.report

test: setup data lint ## the tests between two edits: readers, golden data, one chain, one kill and resume; ten minutes, fifteen the first time
	@sh tests/run.sh quick

test-all: setup data lint tpu-setup ## all tests, the library's on every backend that is installed; forty minutes
	@sh tests/run.sh quick rest

kubeflow: setup ## compiles the pipeline for Kubeflow into kubeflow/pipeline.yaml, as kubeflow/config.yaml says
	@$(QUIET) KERAS_BACKEND=tensorflow $(PYTHON_IN_VENV) kubeflow/compile.py

kubeflow-test: setup ## runs the compiled pipeline on a tiny genome as Kubeflow would; eight minutes of CPU
	@$(QUIET) KERAS_BACKEND=tensorflow $(PYTHON_IN_VENV) -m pytest --quiet tests/kubeflow/proof.py

hosts-test: setup ## runs the whole pipeline on a tiny genome with two hosts on loopback
	@$(QUIET) KERAS_BACKEND=tensorflow $(PYTHON_IN_VENV) -m pytest --quiet tests/trainer/proof.py

cluster-test: setup ## runs a tiny genome's pipeline on a Kubeflow of yours: HOST= IMAGE= NAMESPACE=; KEEP=1 removes nothing
	@$(QUIET) KERAS_BACKEND=tensorflow $(PYTHON_IN_VENV) -m tests.kubeflow_cluster.proof \
	    --host="$(HOST)" --image="$(IMAGE)" --namespace="$(NAMESPACE)" --keep="$(KEEP)" \
	    --data-claim="$(DATA_CLAIM)" --runs-claim="$(RUNS_CLAIM)" --access="$(ACCESS)" \
	    --storage-class="$(STORAGE_CLASS)" --pull-secret="$(PULL_SECRET)" --pipeline-root="$(PIPELINE_ROOT)"

tpu-setup: setup ## builds .venv-tpu, that of the image for TPUs; its files are those of uv's cache, where that is on the same disk
	@sh setup/tpu_environment.sh

tpu-test: tpu-setup ## runs a tiny genome's pipeline in .venv-tpu, on its CPU, and reads the pushed model in .venv
	@$(QUIET) KERAS_BACKEND=tensorflow $(PYTHON_IN_VENV) -m pytest --quiet tests/tpu/proof.py

docs: setup ## builds the documents as a site with a reference of the library, build/docs/index.html
	@sh setup/docs_environment.sh
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --quiet --clean
	@echo "make docs: build/docs/index.html"

setup: ## builds .venv from requirements.lock
	@sh setup/environment.sh

data: setup ## fetches the demo's genome and tracks into data/ecoli, and data/yeast if DATASET asks for it
	@$(PYTHON_IN_VENV) setup/demo_data.py ecoli $(if $(findstring yeast,$(DATASET)),yeast)

lint: setup ## format, lint and docstring rules, and types; half a minute the first time, seconds afterwards
	@.venv/bin/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ."; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy --no-error-summary

# What setup/tpu.lock has in another version than requirements.lock, or, of tensorflow, under another name.
GOES_BY_TENSORFLOW := tensorflow|tensorboard|tf-keras

# A pin moves only when it must or when it is asked for: UPGRADE=1 takes the newest of everything.
lock: setup ## compiles requirements.lock and the locks in setup/; UPGRADE=1 moves all pins
	@task="make lock" && . setup/uv.sh && prepare_uv .venv/bin/python && unset UV_NO_CONFIG && \
	compile="$$uv pip compile --quiet $(if $(filter 1,$(UPGRADE)),--upgrade) --no-emit-index-url --generate-hashes" && \
	export UV_CUSTOM_COMPILE_COMMAND="make lock" && \
	$$compile pyproject.toml $(EXTRAS) --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	    --output-file requirements.lock && \
	$$compile pyproject.toml --extra jax --extra dev --python-version 3.12 --universal \
	    --output-file setup/core.lock && \
	UV_NO_CONFIG=1 $$compile setup/gpu.in --constraint requirements.lock --python-version 3.11 \
	    --python-platform x86_64-manylinux_2_28 --output-file setup/gpu.lock && \
	UV_NO_CONFIG=1 $$compile setup/docs.in --python-version 3.11 --universal --output-file setup/docs.lock && \
	mkdir -p build && \
	sed -nE '/^($(GOES_BY_TENSORFLOW))==/!s/^([^ #]+==[^ ]+).*/\1/p' requirements.lock >build/tpu-constraints.txt && \
	UV_NO_CONFIG=1 $$compile setup/tpu.in --constraint build/tpu-constraints.txt --no-emit-package tensorflow \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_31 --output-file setup/tpu.lock && \
	$$compile setup/uv.in --python-version 3.11 --output-file setup/uv.lock

clean: ## removes what setup, demo and tests made, the demo's runs and data included
	rm -rf .venv .venv-* .setup build data runs .pytest_cache .ruff_cache .mypy_cache *.egg-info compat/*/build compat/*/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## says what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
