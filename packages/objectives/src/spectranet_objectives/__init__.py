"""Training objectives for SpectraNet: masked modelling, contrast, temporal coherence, captioning."""

__version__ = "0.2.0"
