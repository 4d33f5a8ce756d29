"""Modality inertial for SpectraNet. Start reading at plugin.py."""
