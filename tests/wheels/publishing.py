"""What docs/authors/publishing.md does before a plugin is published, as it stands there, from wheels alone.

Run by ``nox -s wheels`` in a clean environment and an empty folder, with the folder of the wheels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "documented"))

from commands import commands_in  # noqa: E402

PAGE = "docs/authors/publishing.md"


def main() -> None:
    commands = [each for each in commands_in(PAGE, (ROOT / PAGE).read_text()) if each.in_block]
    assert len(commands) >= 5, f"{PAGE} has {len(commands)} commands"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        print(f"$ {command.text}", flush=True)
        subprocess.run(["bash", "-c", command.text], env=os.environ | {"PATH": path}, check=True)
    (wheel,) = Path("spectranet-lidar", "dist").glob("*.whl")
    packed = ZipFile(wheel).namelist()
    assert not [name for name in packed if "test" in name], packed
    assert {"py.typed", "LICENSE"} <= {Path(name).name for name in packed}, packed


if __name__ == "__main__":
    main()
