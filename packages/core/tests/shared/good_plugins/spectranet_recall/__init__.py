"""Two objectives small enough to reason about, that keep every clause: `planted.py` makes plugins of them."""
