# What the continuous check runs, and what a contributor runs before a commit.
.PHONY: check test lint types house pages site dist

check: test lint types house pages site  ## everything below but dist

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

site:  ## docs/, the model browser and the reference as a static site, without a network
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

dist:  ## wheel and sdist, each tried in a fresh environment outside the checkout
	python -m tools.dist
