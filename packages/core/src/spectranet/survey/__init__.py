"""What is in the data? A survey for ``spectranet data inspect``: a sample of the rows, and what a run sees.

====================  =====================================================================
``bare_path.py``      a path alone: which configuration would read it
``looking.py``        rows spread evenly over a source, prepared as training prepares them
``figures.py``        their sizes, lengths and counts, as distributions
``sheet.py``          a few of them as the model sees them, several times
``mixture.py``        how often a run sees each source, and tokens of each modality
``survey.py``         all of it, for all sources of a configuration
``terminal.py``       the survey as text of 80 columns
``page.py``           the survey as one HTML file; ``charts.py`` draws its distributions
====================  =====================================================================

Nothing reads the whole corpus, and nothing builds a model.
"""
