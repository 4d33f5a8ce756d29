"""Text for SpectraNet: BERT encoder and SentencePiece tokenizer."""

__version__ = "0.1.0"
