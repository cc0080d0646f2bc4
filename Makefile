# `make demo` and `make test` set up everything they need in .venv on first use.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
KERNELS := edge_gate/web/kernels
CLANG = $(BIN)/python -m ziglang cc -target wasm32-freestanding -O3 -msimd128 -mbulk-memory -ffreestanding -nostdlib -Wall \
	-DSOURCE='"$(shell sha256sum $(KERNELS)/kernels.c | cut -c 1-64)"' \
	-Wl,--no-entry -Wl,--export=__heap_base -Wl,--export=made_of -Wl,--strip-all -Wl,-z,stack-size=524288 \
	-Wl,--import-memory -Wl,--initial-memory=1048576
SHARED := -matomics -Wl,--shared-memory -Wl,--max-memory=536870912 -Wl,--export=__stack_pointer

.PHONY: help demo test fuzz lint format setup kernels clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: setup ## film the built-in scene, send it over WebRTC to a server process, say what the model sees
	$(BIN)/vidtok demo

test: setup lint ## lint, types and all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

fuzz: setup ## a million mutated packets at live sessions; PACKETS=, SEED=; REPLAY=FILE does again what has failed
	$(BIN)/python -m tests.transport.fuzz $(if $(REPLAY),--replay $(REPLAY),--packets $(or $(PACKETS),1000000) --seed $(or $(SEED),0))

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## put the code into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.ready ## the virtual environment with everything in it

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "== setting up $(VENV) (once; a minute or two, most of it downloads)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3"; exit 1; }
	@s=$$(date +%s); $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade pip && echo "   virtual environment  $$(( $$(date +%s) - s )) s"
	@s=$$(date +%s); $(BIN)/python -m pip install --quiet -c constraints.txt torch && echo "   torch                $$(( $$(date +%s) - s )) s"
	@s=$$(date +%s); PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]' && $(BIN)/python -m pip install --quiet --no-deps -c constraints.txt rapidocr-onnxruntime absl-py && $(BIN)/python -m pip install --quiet --no-deps -c constraints.txt 'mediapipe; python_version < "3.13"' && echo "   everything else      $$(( $$(date +%s) - s )) s"
	@touch $@

kernels: $(VENV)/.ready ## compile edge_gate/web/kernels/kernels.c for browsers, after a change to it
	$(BIN)/python -m pip install --quiet -c constraints.txt ziglang
	$(CLANG) -o $(KERNELS)/kernels.wasm $(KERNELS)/kernels.c
	$(CLANG) -mrelaxed-simd -o $(KERNELS)/relaxed.wasm $(KERNELS)/kernels.c
	$(CLANG) $(SHARED) -o $(KERNELS)/kernels-shared.wasm $(KERNELS)/kernels.c
	$(CLANG) $(SHARED) -mrelaxed-simd -o $(KERNELS)/relaxed-shared.wasm $(KERNELS)/kernels.c
	chmod 644 $(KERNELS)/*.wasm

clean: ## remove the virtual environment and what was generated
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
