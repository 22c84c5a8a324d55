# make run: install, then the whole pipeline on the synthetic sample. make test: install, then the tests.
PYTHON ?= python3
CORES ?= all
# MEMORY=6000: no more stages at once than together need so many MB
LIMITS := --cores $(CORES) $(if $(MEMORY),--resources mem_mb=$(MEMORY))
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: checkout run table ablations cold-start goodbooks language-model leave-last-out gal-rec-ablations semantic-ablations tune published test test-slow test-engines bench docs ui lint lock pull push clean clean-all

# before the installation, which takes minutes: without these, nothing can run
.DEFAULT_GOAL := run
checkout:
	@[ -w . ] || { echo "error: $(CURDIR): cannot be written; work in a copy that is yours" >&2; exit 1; }
	@[ -e .git ] || git rev-parse --git-dir > /dev/null 2>&1 || { echo "error: $(CURDIR): is not a git repository, and DVC" \
	  "works in one alone; make it one: git init && git add -A && git commit -m start" >&2; exit 1; }

run: checkout $(READY)
	@$(BIN)/snakemake $(LIMITS)
	@test -n "$$VIRTUAL_ENV" || echo "source .venv/bin/activate puts glta, snakemake and dvc on the path"

# an experiment is a file of parameters; `$(BIN)/glta params use experiments/quickstart.yaml` goes back to the sample
table ablations cold-start goodbooks language-model leave-last-out gal-rec-ablations semantic-ablations: checkout $(READY)
	@$(BIN)/glta params use experiments/$@.yaml
	@$(BIN)/snakemake $(LIMITS)

# the same budget for each method on each dataset of the table, two methods at a time; LightGCN first, others build on it;
# each dataset begins with what was found on those before it
TRIALS ?= 30
MINUTES ?= 15
TRIAL_MINUTES ?= $(MINUTES)
TUNED_ON ?= ml-latest-small movietweetings amazon-beauty amazon-office-partial goodbooks-10k-v1
TUNED := transitions transitions-text text-knn word-ridge text-ridge text-map item-knn ease slim ials gf-cf cease \
  lightgcn-plus hccf hccf-plus rlmrec-con rlmrec-gen alpharec sasrec glta gal-rec
tune: export PATH := $(CURDIR)/$(BIN):$(PATH)
tune: export GLTA_PLAIN = 1
tune: export OMP_NUM_THREADS = 1
tune: LIMIT := --trials $(TRIALS) --minutes $(MINUTES) --trial-minutes $(TRIAL_MINUTES)
tune: checkout $(READY)
	@$(BIN)/glta params use experiments/table.yaml
	@like=; for dataset in $(TUNED_ON); do \
	  glta tune lightgcn $$dataset $(LIMIT) $$like && \
	  printf '%s\n' $(TUNED) | xargs -P 2 -I METHOD glta tune METHOD $$dataset $(LIMIT) $$like || exit 1; \
	  like="$$like --like $$dataset"; \
	done

# two tests at a time: with more threads than cores, they would wait for each other
test test-engines: export OMP_NUM_THREADS = 1
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile
	$(BIN)/mypy & types=$$!; \
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$types && exit $$tests

test-slow: $(READY)
	$(BIN)/pytest -m slow

# what docs/engines.md promises: both engines agree after 200 random changes, nothing is lost by a kill, every number has its run
test-engines: $(READY)
	GLTA_AGREEMENT=10x20 $(BIN)/pytest -m engines -n 2 --dist loadgroup --durations 10

# our results beside published ones on the same public splits, read from the folder GLTA_MIRROR, in under half an hour on 2 cores;
# ROWS=--trained adds SASRec and the trained graphs, which take hours
published: $(READY)
	@test -n "$(GLTA_MIRROR)" || { echo "error: GLTA_MIRROR is not set; name the folder that holds the public splits:" \
	  "make published GLTA_MIRROR=FOLDER" >&2; exit 1; }
	@$(BIN)/python -m benchmarks.published $(GLTA_MIRROR) $(ROWS)

# docs/performance.md is written by it; BENCH="--only graph" for a part, BENCH=--quick for the check of equality alone
bench: $(READY)
	$(BIN)/python -m benchmarks $(BENCH)

# the site of README.md, docs/ and the API: open build/site/index.html. All is done in build/, as --clean empties the .cache
# beside the configuration
docs: $(READY)
	$(BIN)/python docs/site/make_pages.py
	$(BIN)/zensical build --strict --clean --config-file build/mkdocs.yml

ui: $(READY)
	$(BIN)/glta ui

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile

pull: $(READY)
	$(BIN)/glta pull

push: $(READY)
	$(BIN)/glta push

# CUDA's libraries are left out of the lock: torch's own metadata pins them where they are wanted, and a CPU build of
# torch must not drag them in.
lock: $(READY)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra dev --extra docs pyproject.toml --no-annotate --no-header \
	  | grep -vE '^(nvidia-|cuda-|triton)' > requirements.lock.new
	mv requirements.lock.new requirements.lock

# What cannot be made again for nothing stays: answers of language models, trials of tuning, records that wait for
# MLflow. `make clean-all` deletes them too.
clean:
	rm -rf .snakemake data/report/index.html data/report/figures
	find .cache -mindepth 1 -maxdepth 1 ! -name profile -exec rm -rf {} + 2>/dev/null || true
	find .pipe -mindepth 1 -maxdepth 1 ! -name tune ! -name unrecorded -exec rm -rf {} + 2>/dev/null || true
	find data -mindepth 1 -maxdepth 1 ! -name report -exec rm -rf {} +

clean-all: clean
	rm -rf .cache .pipe

# The commands of an environment hold the path of its folder. After a move they fail, and in a copy they would run the
# original's code, so the environment is made anew where $(READY) names another folder.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

# torch comes through pip, which alone looks where a machine keeps its own build of it; the rest through uv, much faster.
# Bytecode is made here: where PYTHONDONTWRITEBYTECODE is set, as in many containers, each stage would compile MLflow again
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  'error: $(PYTHON) is Python %d.%d; name one of 3.11 to 3.13: make PYTHON=python3.12' % v)"
	@echo "installing into .venv: some minutes, most of them for torch"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --progress-bar off $$(grep -E '^(torch|uv)==' requirements.lock)
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@echo "$(CURDIR)" > $(READY)
