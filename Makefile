# The only commands a newcomer needs:
#   make demo    install, render motion8, extract it, show a summary and a picture
#   make test    install with the test extra, run the tests
#   make lint    ruff, mypy, import-linter
#   make docs    install with the docs extra, build the documentation into build/docs
#   make bench   the ratios of RESULTS.md
#   make torture kills, damage, full disks and signals for MINUTES, by the seed SEED
#   make gpu     on a machine with a GPU: the GPU rows of RESULTS.md, in eight minutes
#   make flash-mnist   Table 1 of Attention Clusters, trained and put into RESULTS.md
# For releases:
#   make dist    build dist/, check what is in it, install the wheel elsewhere
#   make test-matrix   install and use the wheel with every Python here and three sets of packages
# PYTHON names the interpreter (3.11 or newer), such as: make demo PYTHON=python3.12
PYTHON ?= python3
VENV   ?= .venv
# Processes that run tests: three for two cores, since many tests wait. Those that start many
# processes of their own stay together (tests/conftest.py).
TESTERS ?= 3
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The folder docs/ is there, so `docs` must be phony.
.PHONY: demo test torture lint docs bench gpu flash-mnist dist test-matrix clean always
.DELETE_ON_ERROR:

# Checked each time; the stamp changes only when the environment is made, or remade.
$(VENV)/.made: always
	@sh .ci/make_venv $(VENV) $(PYTHON) $(if $(filter file,$(origin PYTHON)),,chosen)

# One stamp for each set of packages; both are remade when what they install changes.
$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.made
	$(PIP) -e .
	@touch $@

$(VENV)/.tested: pyproject.toml constraints.txt $(VENV)/.made
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.documented: pyproject.toml constraints.txt $(VENV)/.made
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/flowkit demo --write
	$(BIN)/flowkit extract --dataset motion8
	$(BIN)/flowkit demo --check

# A thread for each process, since there are as many processes as cores. Each of the processes that
# tests start would compile flowkit anew without Python's cache.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.tested
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadgroup

# Not beside other work: a trial that takes a minute counts as hanging.
MINUTES ?= 30
SEED ?= 1
torture: $(VENV)/.tested
	$(BIN)/python -W ignore -m tests.torture --minutes $(MINUTES) --seed $(SEED)

lint: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# --strict: a broken link or reference is an error. Nothing is fetched.
docs: $(VENV)/.documented
	$(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/flow.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/extract.py
	$(BIN)/python benchmarks/loader.py

# With the packages that PYTHON has, and what build/gpu brings; no network is needed if that is there.
gpu: build/gpu/pack.json
	$(PYTHON) benchmarks/gpu.py --from build/gpu

# Made where there is a network, for the version of PYTHON.
build/gpu/pack.json:
	$(MAKE) $(VENV)/.installed
	$(BIN)/python benchmarks/gpu.py --pack build/gpu --python \
		$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# MNIST's four files are looked for in $$FLOWKIT_DATA/mnist; `ROWS=--all` is the whole table.
flash-mnist: $(VENV)/.installed
	$(BIN)/flowkit flash-mnist --store stores/flash_mnist
	$(BIN)/python benchmarks/flash_mnist.py $(ROWS) --results benchmarks/RESULTS.md

dist: $(VENV)/.tested
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python .ci/check_dist.py dist

test-matrix: $(VENV)/.made
	$(BIN)/python tests/matrix/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info
