# SPDX-License-Identifier: Apache-2.0
# Nothing lives here: every target is a command of tools/dev.py, which works without make as well.
DEV := python3 tools/dev.py

.PHONY: help env build demo test bench bench-check sweep brute docs lint format clean

help: ; @$(DEV) --help
env: ; @$(DEV) env
build: ; @$(DEV) build
demo: ; @$(DEV) demo
test: ; @$(DEV) test $(ARGS)
bench: ; @$(DEV) bench $(ARGS)
bench-check: ; @$(DEV) bench-check $(ARGS)
sweep: ; @$(DEV) sweep $(ARGS)
brute: ; @$(DEV) brute $(ARGS)
docs: ; @$(DEV) docs
lint: ; @$(DEV) lint
format: ; @$(DEV) format
clean: ; @$(DEV) clean
