"""Text for SpectraNet: BERT encoder and SentencePiece tokenizer.

``tokenizer.open_tokenizer`` turns ids back into text; the modality itself is declared in ``plugin``.
"""

__version__ = "0.1.1"
