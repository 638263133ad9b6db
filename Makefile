# Two commands do everything by themselves: `make demo` and `make test`. Both call `make setup` first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
GEN := $(BIN)/gen
DEMO := out/demo
DEMO_MINUTES := 3
DATA ?= out/mixed
# Portraits in the public domain that other packages bring: Eileen Collins (NASA), Grace Hopper (US Navy).
PORTRAITS := $(BIN)/python -c 'import matplotlib as m, skimage as s; \
  print(s.__path__[0] + "/data/astronaut.png", m.get_data_path() + "/sample_data/grace_hopper.jpg")'
# Two processes test at a time, each whole files; many tests wait for one process of their own. PROCESSES=0: one, in order.
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope --no-loadscope-reorder
BENCH_SPEC ?= train_uvnet$(if $(shell command -v nvidia-smi),,_small)
# Debian packages of the libraries that the bpy wheel takes from the system.
DEBIAN := $(shell awk '{print $$2}' renderer/run/libraries.txt)

.PHONY: help setup system demo train test test-fast test-blender lint check format docs bench assets clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

setup: system $(VENV)/.installed ## .venv with everything; idempotent

$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; bpy 4.5 needs Python 3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Blender, torch and the rest into $(VENV): some 2 GB, a few minutes"
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[render,train,export,apply,dev]'
	@touch $@

system: # installs missing system libraries when root, names them otherwise
	@missing=; for p in $(DEBIAN); do \
	  dpkg-query -W -f='$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing $(PYTHON)-venv"; \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	  else echo "missing system libraries; run: sudo apt-get install$$missing"; fi; fi

assets: setup ## head pack and scene file, into the cache
	$(GEN) assets build

# No part takes longer on a slow processor: samples are few, and the training goes by the clock.
demo: setup ## the main job in 10 minutes: assets, triplets, archive, collages, a short training, photographs, a results page
	@echo "demo: 96 heads are rendered, verified and shown, then a network trains on them for at most $(DEMO_MINUTES) minutes, and reads photographs beside the one that comes with headforge."
	@echo "demo: 5 to 10 minutes in all, a few more the first time, when 150 MB of assets are fetched. All of it lands in $(DEMO)/."
	@echo; echo "demo 1 of 7: the head pack, built once into the cache (1 to 2 minutes the first time)"
	@$(GEN) assets build
	@echo; echo "demo 2 of 7: 96 triplets of the spec mixed (1 minute)"
	@$(GEN) render --spec mixed --count 96 --out $(DEMO)/data --shard-size 32
	@echo; echo "demo 3 of 7: every label is proven against the stored geometry (half a minute)"
	@$(GEN) verify $(DEMO)/data --count 96
	@echo; echo "demo 4 of 7: picture sheets and the distribution of every knob (half a minute)"
	@$(GEN) collage --dataset $(DEMO)/data --out $(DEMO)/inputs.png
	@$(GEN) collage --dataset $(DEMO)/data --triplets --count 48 --out $(DEMO)/triplets.png
	@$(GEN) stats $(DEMO)/data --out $(DEMO)/stats.png
	@echo; echo "demo 5 of 7: UV-net learns these 96 samples, too few for other faces (at most $(DEMO_MINUTES) minutes)"
	@$(GEN) train train_uvnet_small_plain --data $(DEMO)/data --runs $(DEMO)/runs \
	  --set name=demo --set schedule.max_samples=15000 --set schedule.max_minutes=$(DEMO_MINUTES) \
	  --set 'loss.balance=[1, 0.5]' --set output.evaluate_epochs=40
	@echo; echo "demo 6 of 7: photographs, read by the network that comes with headforge and by the one just trained (1 minute)"
	@$(GEN) apply $$($(PORTRAITS)) --beside "$$(ls -td $(DEMO)/runs/*/ | head -1)" \
	  --view lines --view texture --view landmarks --sheet --out $(DEMO)/photos
	@echo; echo "demo 7 of 7: pages of the data set and of the run (half a minute)"
	@$(GEN) view --no-open $(DEMO)/data --out $(DEMO)/page-data
	@$(GEN) view --no-open "$$(ls -td $(DEMO)/runs/*/ | head -1)" --out $(DEMO)/page
	@echo; echo "demo: done. Open these in a browser or an image viewer:"
	@for file in photos/sheet.png page/index.html page-data/index.html triplets.png stats.png; do echo "  $(CURDIR)/$(DEMO)/$$file"; done
	@echo "demo: next: $(GEN) render --count 10000, then $(GEN) train train_uvnet_small --data out/mixed"

train: setup ## the trainer's default run; on a cluster's GPU partition where there is one
	$(GEN) train train_uvnet $$(command -v sbatch >/dev/null && echo --slurm cluster_gpu)

test: setup ## every test that this machine can run
	$(PYTEST)

test-fast: setup ## tests that start neither Blender nor a cluster nor a browser
	$(PYTEST) -m 'not blender and not slurm and not browser and not slow'

test-blender: setup ## tests that start Blender
	$(PYTEST) -m blender

lint: setup ## format, lint, types, who imports whom; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

check: lint ## lint and fast tests; changes nothing
	$(MAKE) --no-print-directory test-fast

format: setup ## rewrites
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## these documents as a site in out/site; broken links are errors
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs out/site
	@echo "docs: open $(CURDIR)/out/site/index.html"

bench: setup ## speed and error on this machine, as JSON lines; of the trainer, too, where DATA is a data set
	$(GEN) bench render
	@if [ -f $(DATA)/dataset.json ]; then $(GEN) bench input $(DATA) && $(GEN) bench network $(BENCH_SPEC) --data $(DATA); \
	else echo "no data set in $(DATA): the trainer's figures are left out; name one with make bench DATA=FOLDER" >&2; fi

clean: ## what was built here; the asset cache stays
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
