"""Bytes by address, wherever they lie.

===============  ==========================================================================
``store.py``     the same functions for paths and URLs: stat, read, list, write atomically
``state.py``     size and stamp of a file, and whether it is still the same
``remote.py``    one attempt on a URL, through fsspec
``patience.py``  how long a store is waited for, and when an address is given up
``lock.py``      a file that one process at a time has
``cache.py``     from where a remote shard is read: its copy on this disk, or ranges of it
``copies.py``    the folder of copies, shared by processes, of bounded size
===============  ==========================================================================
"""
