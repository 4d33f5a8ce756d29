"""Samples, shards, mixing, batches.

From storage to micro-batches, a file per step:

====================  =====================================================================
``options.py``        what a reader is told when it opens a path
``readers.py``        the first-party readers: ``manifest.py``, ``tar.py``, ``folder.py``
``where.py``          which rows of a manifest are kept
``stores/``           bytes by address, path or URL; copies of remote shards
``shards.py``         which shards a path stands for
``index/``            what is in them, and where
``corpus.py``         whether the data are still those that a run began with
``source.py``         a source of the configuration, opened: row -> bytes of each modality
``mixing.py``         slot -> source, by weight
``order.py``          sample number of a source -> row, shuffled per epoch
``schedule.py``       (step, rank) -> addresses of micro-batches
``ahead.py``          the parts that will be wanted soon, told to the reader
``pipeline.py``       address -> decoded, transformed, masked samples
``ratios.py``         which share of the tokens a run hides
``crew.py``           the threads that do so; one that hangs is left behind
``collate.py``        samples -> :class:`spectranet.contracts.Batch`
``build.py``          all sources' pipelines from a configuration
``workers.py``        addresses -> batches, in processes and threads
``failures.py``       what could not be used, and why
``loader.py``         what the training loop and the tasks iterate over
====================  =====================================================================

The only state is the step: every one of these is a pure function of the configuration, the seed
and the step, so any cut into ranks, workers and micro-batches reads the same global batches.
Importing this package imports no torch.
"""
