# The two commands that matter are `make demo` and `make test`; each sets up .venv by itself.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test bench lint slow

demo:
	@$(PYTHON) scripts/setup.py
	@test -f demo/plutao.toml || $(BIN)/plutao new demo --recipe sistema-solar
	$(BIN)/plutao run demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --cov --cov-report=
	@$(BIN)/coverage report --skip-covered --skip-empty --sort=cover | tail -n 15

lint:
	@$(PYTHON) scripts/setup.py dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow:
	@$(PYTHON) scripts/setup.py dev
	$(BIN)/pytest -m slow

bench:
	@$(PYTHON) scripts/setup.py dev bench
	$(BIN)/python benchmarks/run.py
