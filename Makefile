# `make release` and `make test` need Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python

# Without .pyc files TensorFlow starts in 8 instead of 3 seconds, in every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: release test test-all lint bench setup lock proto clean

release: .venv/ready
	$(RUN) -m flows release configs/digits.yaml

# One more than cores: tests wait for processes much of their time.
PYTEST = $(RUN) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test: .venv/ready
	$(PYTEST) --one-of-each-kind

test-all: .venv/ready
	$(PYTEST)

lint: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports

bench: .venv/ready
	$(RUN) -m tests.benchmarks

setup: .venv/ready

# The lock is whole, so nothing is left to resolve; pip 23 would take a newer SQLAlchemy for `sqlalchemy[asyncio]`.
.venv/ready: requirements.lock
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch .venv/ready

# Needs uv on the path; writes no addresses.
lock:
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra pipeline --extra grpc --extra otel --extra dask --extra dev pyproject.toml --output-file requirements.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --constraint requirements.lock pyproject.toml --output-file requirements-serve.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra target \
	  --constraint requirements.lock pyproject.toml --output-file requirements-target.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra pipeline \
	  --extra grpc --constraint requirements.lock pyproject.toml --output-file requirements-pipeline.lock

proto: .venv/ready
	$(RUN) -m grpc_tools.protoc --proto_path=. --python_out=. --grpc_python_out=. \
	  tasks/serving/server/grpc_v2/open_inference.proto

clean:
	[ ! -f .slipway/stack.json ] || SLIPWAY_HOME= $(RUN) -m flows down
	rm -rf .venv .slipway .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
