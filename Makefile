# Thin front door: everything real lives in scripts/ and CMake.
.PHONY: help demo test build bench format setup
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up, build, and run the demo on real models"
	@echo "make test    set up, build, and run all tests"
	@echo "make build   set up and build (.venv/bin/onnuri, import onnuri)"
	@echo "make bench   kernel and end-to-end benchmarks"
	@echo "make format  format the sources"

setup:
	@scripts/setup.sh

build:
	@scripts/build.sh

demo: build
	@scripts/demo.sh

test: build
	@scripts/test.sh

bench: build
	@scripts/bench.sh

format:
	@git ls-files '*.h' '*.cpp' | xargs clang-format -i
