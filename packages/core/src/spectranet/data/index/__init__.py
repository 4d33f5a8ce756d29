"""What is in a tar shard, and where: indexes that make shards random-access.

================  =======================================================================
``open.py``       the indexes of a source's shards, found or made
``summary.py``    one file a folder: what its shards hold, in counts
``shard.py``      one file a shard: where each field of each sample lies
``file.py``       how both are stored: safetensors, with a check sum
``place.py``      beside the shards, or below the cache where that cannot be written
``build.py``      making them, in parallel, once for all processes
``scan.py``       the samples of a shard, and where it breaks off
``headers.py``    the members of a tar
``progress.py``   what is shown meanwhile
``check.py``      whether indexes still fit their shards
================  =======================================================================
"""
