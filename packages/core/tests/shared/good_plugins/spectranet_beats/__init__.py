"""A modality small enough to reason about, that keeps every clause: `planted.py` makes plugins of it."""
