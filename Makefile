# Two commands, each complete on a fresh machine with Python >= 3.11: what they need goes into .venv and .nox.
# All other tasks: .venv/bin/nox -l

.PHONY: demo test
NOX := .venv/bin/nox

demo: $(NOX)
	$(NOX) --sessions demo

test: $(NOX)
	$(NOX)

# uv only makes installing faster; where it does not exist for a platform, nox uses pip.
$(NOX):
	@for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    $$python -m venv .venv || exit 1; \
	    .venv/bin/python -m pip install --quiet uv || echo 'no uv: installing with pip'; \
	    .venv/bin/python -m pip install --quiet nox; exit; \
	done; echo 'error: no Python >= 3.11 found (tried python3, python3.14 to python3.11, python)' >&2; exit 1
