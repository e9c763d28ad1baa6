# Each line is what a person could type. OPSFORGE_PLATFORM=name keeps a second platform apart.
PLAY = .venv/bin/ansible-playbook
# Tests that share nothing but the machine; each worker has servers of its own.
SIDE_BY_SIDE = pytest -n auto --maxprocesses 4
COLLECTION = collections/ansible_collections/opsforge/platform
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: site down test lint unit api services scenarios platform thorough bench load lock

site: .venv/ready
	$(PLAY) playbooks/site.yml

down: .venv/ready
	$(PLAY) playbooks/down.yml

test: lint unit site api services scenarios platform

lint: .venv/ready
	ruff check . && ruff format --check . && mypy && ansible-lint -q --offline
	ANSIBLE_COLLECTIONS_PATH=collections antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck $(COLLECTION)
	cd $(COLLECTION) && antsibull-changelog lint

unit: .venv/ready
	$(SIDE_BY_SIDE) -m "not api and not services and not site"

# The tiers below take their programs from the mirror that `make site` filled.
api: .venv/ready
	$(PLAY) playbooks/prepare_tests.yml && $(SIDE_BY_SIDE) -m api

services: .venv/ready
	$(PLAY) playbooks/prepare_tests.yml && $(SIDE_BY_SIDE) -m services

scenarios: .venv/ready
	molecule test --all

platform: .venv/ready
	pytest -m site

# Proofs that take minutes each, on the platform of `make site`.
thorough: .venv/ready
	pytest -m thorough molecule/*/tests

bench: .venv/ready
	python -m benchmarks.$(NAME) $(ARGS)

load: .venv/ready
	python -m loadtests $(NAME) $(ARGS)

# Needs `uv`. No index address is written.
lock:
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/services.in -o requirements/services.txt -c requirements/dev.txt
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/benchmarks_queue.in -o requirements/benchmarks_queue.txt
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/benchmarks_people.in -o requirements/benchmarks_people.txt
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/benchmarks_web.in -o requirements/benchmarks_web.txt

.venv/ready: requirements/dev.txt
	python3 -c "import ensurepip" 2>/dev/null || apt-get install -y --no-install-recommends python3-venv
	python3 -m venv .venv
	.venv/bin/pip install --quiet --require-hashes -r requirements/dev.txt
	touch .venv/ready
