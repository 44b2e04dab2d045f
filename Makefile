# What the continuous check runs, and what a contributor runs before a commit.
.PHONY: check test lint types house pages dist

check: test lint types house pages  ## everything below but dist

test:
	pytest

lint:
	ruff check .
	ruff format --check .

types:
	mypy

house:
	python -m tools.house

pages:  ## generated files are up to date
	python -m tools.schema --check
	python -m tools.labels --check
	python -m tools.docs --check
	python -m tools.drift

dist:  ## wheel and sdist, each tried in a fresh environment outside the checkout
	python -m tools.dist
