"""What the contract asks of every plugin package: ``conformance.py`` has the clauses."""
