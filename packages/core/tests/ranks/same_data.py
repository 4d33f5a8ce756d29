"""Two ranks, each with its own copy of a source, that differ; argv: a folder of shards for each rank."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from numbers_modality import numbers

from spectranet import ConfigError
from spectranet.config import DataConfig, SourceConfig
from spectranet.data.corpus import describe_corpus
from spectranet.data.readers import readers
from spectranet.data.source import open_sources
from spectranet.train.distributed import leave, start_world
from spectranet.train.same_data import require_same_data

world = start_world("cpu", 1, timeout_s=60)
modalities = {"a": numbers("a", "jpg"), "b": numbers("b", "txt")}


def opened(path: str):
    source = SourceConfig(path=path, modalities=["a", "b"])
    return open_sources({"s": source}, modalities, readers(), DataConfig())


require_same_data(world, describe_corpus(opened(sys.argv[1])))
try:
    require_same_data(world, describe_corpus(opened(sys.argv[1 + world.rank])))
except ConfigError as error:
    assert "the files of source 's' (here 16 samples, 4 shards, 0 of them broken) differ" in str(error), error
    assert "rank 1 against rank 0" in str(error), error
    sys.stdout.write("refused\n")  # one write: ranks share a pipe
leave(0)
