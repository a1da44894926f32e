# Every target makes the environment that it needs in .venv first.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
FUZZ_SECONDS ?= 600
TEST_WORKERS ?= 2
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt constraints.txt \
	$(shell find lstmcore csrc -type f -not -name '*.so' -not -name '*.pyc')
C_SOURCES := $(wildcard csrc/*.h csrc/*/*.c csrc/*/*.h csrc/*/*.def) $(wildcard tests/c/*.[ch] benchmarks/*.[ch] docs/*.c)

.PHONY: help demo test bench lint format sanitize fuzz docs clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.demo ## follow a made-up market with the shipped model; a plot goes to out/demo
	$(BIN)/lstmcore demo --out $(OUT)/demo

test: $(VENV)/.test ## run all tests
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile

bench: $(VENV)/.test ## time lstmcore beside ONNX Runtime, OpenVINO and torch; into benchmarks/results and the docs
	$(BIN)/python benchmarks/run.py
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python benchmarks/ceiling.py --json benchmarks/results/ceiling.json
	$(BIN)/python benchmarks/sliding.py --json benchmarks/results/sliding.json
	$(BIN)/python benchmarks/graphs.py --json benchmarks/results/graphs.json
	$(BIN)/python benchmarks/predict_windows.py --json benchmarks/results/predict_windows.json
	$(BIN)/python benchmarks/edge.py --json benchmarks/results/edge.json
	$(BIN)/python benchmarks/subnormals.py --json benchmarks/results/subnormals.json
	$(BIN)/python benchmarks/tables.py

lint: $(VENV)/.lint ## ruff, mypy --strict, import-linter, clang-format, and the C core and its binding with warnings as errors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)
	@mkdir -p build
	$(BIN)/cmake -S . -B build/lint -DLSTMCORE_WERROR=ON -DLSTMCORE_BINDING=ON \
		-DPython_EXECUTABLE=$(abspath $(BIN))/python > build/lint.log
	$(BIN)/cmake --build build/lint --clean-first --parallel 2 >> build/lint.log

format: $(VENV)/.lint ## let ruff and clang-format rewrite what lint complains of
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(C_SOURCES)

sanitize: $(VENV)/.test ## run every kernel of the C core, and its binding, under ASan and UBSan
	PATH="$(abspath $(BIN)):$$PATH" tests/c/sanitize.sh build/sanitize
	PATH="$(abspath $(BIN)):$$PATH" tests/c/sanitize_binding.sh build/sanitize

fuzz: $(VENV)/.test ## damaged files, 100,000 and FUZZ_SECONDS (600) of guided ones, for each reader; calls of the C API; hours
	$(BIN)/python tests/support/fuzz.py
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tests/support/fuzz_guided.py --seconds $(FUZZ_SECONDS)

docs: $(VENV)/.docs ## build the documentation; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean: ## remove everything that was made
	rm -rf $(VENV) $(OUT) build dist docs/_build

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

# Stamps: each extra is installed again when a source changed. Editable, so that Python started in this folder, which
# finds lstmcore/ here before anything installed, finds the compiled core too. tests/tools/test_packaging.py tests the
# wheel.
$(VENV)/.%: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@
