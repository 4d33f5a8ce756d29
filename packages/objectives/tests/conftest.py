"""The batch that most tests use; how it is made is in ``shared/hand_made.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spectranet import Batch

sys.path.append(str(Path(__file__).parent / "shared"))  # tests are imported by path, not by folder


@pytest.fixture
def av_batch() -> Batch:
    from hand_made import clips_with_captions

    return clips_with_captions()
