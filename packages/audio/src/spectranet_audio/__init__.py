"""Audio for SpectraNet: Wav2Vec2 on 16 kHz."""

__version__ = "0.1.1"
