"""Evaluation: tasks of plugins, run on held-out sources."""
