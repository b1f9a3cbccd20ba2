# Targets, on a machine with Python ≥ 3.11 and g++:
#   make demo      train a generator of chairs and sample meshes from it, in out/demo
#   make test      run what CI runs: ruff, mypy and pytest
#   make install   install tetragan in .venv and build the kernels
#   make wheel     build a wheel with CPU and CUDA kernels, in dist
#   make blender   install Blender for `tetragan dataset render --renderer blender`, in .venv-blender (1 GB)
#   make blender-addon pack the add-on for Blender 4.2 and newer, in dist (docs/blender.md)
#   make gpu-check run on a machine with a GPU everything that only a GPU can tell, in at most nine minutes
#   make gpu-train train a generator of chairs at 256² for twenty minutes on a GPU, in out/gpu-train; run again, it goes on
#   make gpu-wheels gather, in out/wheels, what a GPU machine without a network lacks
#   make sanitize  run the tests of the ops on kernels with address, undefined-behavior and race checks
#   make mutants   seed mistakes into the CUDA kernels and show that the emulation sees each
#   make soak      kill, fill and lock out the commands at random moments (half an hour; docs/reliability.md)
#   make clean     remove build outputs
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TETRAGAN := $(BIN)/tetragan
INSTALL_INPUTS := pyproject.toml setup.py constraints.txt

.PHONY: blender-addon gpu-check gpu-train gpu-wheels help install test lint demo blender wheel sanitize mutants soak clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@command -v g++ > /dev/null || { echo "g++ is needed to build the kernels. Try: apt-get install g++"; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "The venv module is needed. Try: apt-get install python3-venv"; exit 2; }
	$(PIP) torch setuptools wheel
	@touch $@

.venv/.installed: .venv/.created $(INSTALL_INPUTS)
	$(PIP) --no-build-isolation -e .
	@touch $@

# The detector of image scores, for the report of the demo.
.venv/.installed-detector: .venv/.installed
	$(PIP) --no-build-isolation -e ".[detector]"
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) --no-build-isolation -e ".[dev]"
	@touch $@

install: .venv/.installed
	@$(BIN)/python -m torch_utils.build

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/.installed-dev
	@$(BIN)/python -m torch_utils.build
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Procedural chairs → views → training → meshes → report. Run again, finished steps are kept and training resumes.
DEMO := out/demo
DEMO_KIMG ?= 25
INCLUDED := chair-64
demo: install .venv/.installed-detector
	$(TETRAGAN) dataset procedural --category chair --count 400 --seed 0 --out $(DEMO)/shapes
	$(TETRAGAN) dataset render $(DEMO)/shapes --out $(DEMO)/dataset --resolution 64 --views 24 --camera chair
	$(TETRAGAN) train --config chair --data $(DEMO)/dataset --out $(DEMO)/run \
	  --set training.total_kimg=$(DEMO_KIMG) $(if $(wildcard $(DEMO)/run/latest.json),--resume)
	$(TETRAGAN) generate --network $(DEMO)/run/network.safetensors --seeds 0-15 --overwrite --out $(DEMO)
	$(TETRAGAN) generate --network $(INCLUDED) --seeds 0-15 --format none --resolution 128 --overwrite --out $(DEMO)/included
	$(BIN)/python -m benchmarks.demo.side_by_side $(DEMO)/samples.png $(DEMO)/included/samples.png --run $(DEMO)/run --name $(INCLUDED) \
	  --out $(DEMO)/side_by_side.png
	$(TETRAGAN) evaluate --network $(DEMO)/run/network.safetensors --data $(DEMO)/dataset --out $(DEMO)/report \
	  --reference-meshes $(DEMO)/shapes --detector lite0 --cache $(DEMO)/cache
	@echo
	@echo "Samples       $(DEMO)/samples.png"
	@echo "Side by side  $(DEMO)/side_by_side.png: the network trained here, and $(INCLUDED)"
	@echo "Meshes        $(DEMO)/seed0000.glb … seed0015.glb (open them in Blender or a browser)"
	@echo "Report        $(DEMO)/report/report.html"
	@echo "Training      $(DEMO)/run (curves: .venv/bin/tensorboard --logdir $(DEMO)/run)"
	@echo "Next          source .venv/bin/activate; tetragan dataset render YOUR_MESHES --out data/mine --camera chair"

# Blender's module needs Python 3.11 and an older NumPy, so it gets an environment of its own.
BLENDER_PYTHON ?= python3.11
blender: .venv-blender/.installed
.venv-blender/.installed: constraints-blender.txt
	@command -v $(BLENDER_PYTHON) > /dev/null || \
	  { echo "Blender 4.5 needs Python 3.11. Try: make blender BLENDER_PYTHON=path/to/python3.11"; exit 2; }
	$(BLENDER_PYTHON) -m venv .venv-blender
	.venv-blender/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-blender.txt
	@.venv-blender/bin/python -c 'import bpy; print("Blender", bpy.app.version_string)'
	@touch $@

# Blender installs an extension from a zip whose manifest lies at the top.
ADDON ?= dist/tetragan_blender_addon.zip
blender-addon:
	@mkdir -p $(dir $(ADDON))
	@rm -f $(ADDON)
	@$(PYTHON) -m zipfile -c $(ADDON) blender_addon/blender_manifest.toml blender_addon/*.py
	@echo "$(ADDON)  (in Blender: Edit > Preferences > Get Extensions > Install from Disk)"

wheel: .venv/.installed
	TETRAGAN_BUILD_CUDA=1 $(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps -w dist .
	@ls dist/*.whl

# For each instruction set of this machine. Leak detection is off because Python itself does not free all its memory.
CXX ?= g++
sanitize: .venv/.installed-dev
	@$(BIN)/python -m torch_utils.build --sanitize
	for isa in baseline avx2 avx512; do \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TETRAGAN_ISA=$$isa \
	  TETRAGAN_LIBRARIES=build/sanitized TETRAGAN_OPS=require \
	  $(BIN)/python -m pytest -q -x tests/ops --ignore tests/ops/test_cuda_sources.py \
	  --ignore tests/ops/test_emulation.py || exit 1; \
	done
	$(BIN)/python -m tests.ops.emulation.check --sanitizer address
	$(BIN)/python -m tests.ops.emulation.check --sanitizer thread --order forward --first 6

mutants: .venv/.installed-dev
	@$(BIN)/python -m torch_utils.build
	$(BIN)/python -m tests.ops.emulation.mutants

# Parts and a shorter run: make soak SOAK="--part training --share 0.2"
SOAK ?=
soak: .venv/.installed-dev
	@$(BIN)/python -m torch_utils.build
	$(BIN)/python -m studies.soak $(SOAK)

# Without .venv, as on a machine that brings its own torch for CUDA, the python3 of that machine.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
gpu-check:
	$(GPU_PYTHON) -m benchmarks.gpu_check

# Views are rendered on the GPU, too. An interrupt after GPU_TRAIN_SECONDS saves the state.
GPU_TRAIN := out/gpu-train
GPU_TRAIN_SECONDS ?= 1200
GPU_TRAIN_SHAPES ?= 2400
GPU_TRAIN_CONFIG ?= chair-256
GPU_TRAIN_DEVICE ?= cuda
GPU_TRAIN_VIEWS := $(if $(findstring -,$(GPU_TRAIN_CONFIG)),$(lastword $(subst -, ,$(GPU_TRAIN_CONFIG))),64)
gpu-train:
	$(GPU_PYTHON) -m tetragan dataset procedural --category chair --count $(GPU_TRAIN_SHAPES) --seed 1 --out $(GPU_TRAIN)/shapes
	$(GPU_PYTHON) -m tetragan dataset render $(GPU_TRAIN)/shapes --out $(GPU_TRAIN)/views --resolution $(GPU_TRAIN_VIEWS) --views 24 \
	  --camera chair --device $(GPU_TRAIN_DEVICE)
	timeout --signal=INT --foreground $(GPU_TRAIN_SECONDS) \
	  $(GPU_PYTHON) -m tetragan train --config $(GPU_TRAIN_CONFIG) --data $(GPU_TRAIN)/views --out $(GPU_TRAIN)/run \
	  --device $(GPU_TRAIN_DEVICE) --set training.total_kimg=10000 \
	  $(if $(wildcard $(GPU_TRAIN)/run/latest.json),--resume) || test $$? -eq 124
	$(GPU_PYTHON) -m tetragan generate --network $(GPU_TRAIN)/run --seeds 0-15 --overwrite --out $(GPU_TRAIN)

gpu-wheels: .venv/.installed-dev
	$(BIN)/python -m benchmarks.gather_wheels

clean:
	rm -rf build dist torch_utils/lib *.egg-info
