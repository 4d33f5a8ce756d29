"""Images and video for SpectraNet: one ViT for both. What the plugin brings is in ``plugin.py``."""

__version__ = "0.2.0"
