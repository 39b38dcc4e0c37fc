# The paper and the site. `make paper PROFILE=cpu` runs what is not finished; Ctrl-C and the same command go on.
PROFILE ?= smoke

.PHONY: paper paper-data paper-rebuild

paper:  ## run the profile and rebuild every table, figure and the PDF
	uv run python -m paper make --profile $(PROFILE)

paper-data:  ## fetch what the profile reads
	uv run python -m paper fetch --profile $(PROFILE)

paper-rebuild:  ## rebuild from the table that git keeps, without running anything
	uv run python -m paper rebuild --profile $(PROFILE)
