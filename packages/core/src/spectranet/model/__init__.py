"""Encoders to memory, queries to answers."""
