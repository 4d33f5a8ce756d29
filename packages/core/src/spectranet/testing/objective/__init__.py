"""What the contract asks of an objective: ``conformance.py`` puts together what the others check."""
