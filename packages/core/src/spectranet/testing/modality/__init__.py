"""What the contract asks of a modality: ``conformance.py`` puts together what the others check."""
