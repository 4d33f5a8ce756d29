"""What does one of a clause's ranks do? ``python -m spectranet.testing.rank WORK FOLDER``, under torchrun."""

from __future__ import annotations

import json
import os
import pickle
import sys
import traceback
from pathlib import Path

from spectranet.addresses import lazy
from spectranet.testing.clause import BrokenClauseError

__all__: list[str] = []


def _be_a_rank(work: str, folder: Path) -> None:
    """Do ``work`` with the case in ``folder``, and leave there what came of it."""
    from spectranet.train.distributed import leave, start_world

    world = start_world("cpu", threads=1)
    try:
        case = pickle.loads((folder / "case.pickle").read_bytes())
        outcome, code = {"returned": lazy(work)(case, world)}, 0
    except BrokenClauseError as broken:
        outcome, code = {"raised": str(broken)}, 1
    except Exception as error:
        traceback.print_exc()
        outcome, code = {"raised": f"{type(error).__name__}: {error}"}, 1
    whole = folder / f"{world.rank}.json.part"  # torchrun may end this rank while it writes
    whole.write_text(json.dumps(outcome))
    whole.replace(folder / f"{world.rank}.json")
    if code:
        os._exit(code)  # others may wait for this rank: torchrun ends them
    leave(code)


if __name__ == "__main__":
    _be_a_rank(sys.argv[1], Path(sys.argv[2]))
