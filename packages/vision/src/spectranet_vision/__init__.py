"""Images and video for SpectraNet: one ViT for both."""

__version__ = "0.1.0"
