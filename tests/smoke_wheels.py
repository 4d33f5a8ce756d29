"""Run by ``nox -s wheels``, with the wheels installed and the sources out of sight."""

from __future__ import annotations

import importlib
from importlib.metadata import files, version
from pathlib import Path

PACKAGES = {
    "spectranet-core": "spectranet",
    "spectranet-text": "spectranet_text",
    "spectranet-vision": "spectranet_vision",
    "spectranet-audio": "spectranet_audio",
    "spectranet-objectives": "spectranet_objectives",
}

for distribution, package in PACKAGES.items():
    module = importlib.import_module(package)
    assert "site-packages" in Path(str(module.__file__)).parts, f"{package} comes from {module.__file__}"
    assert module.__version__ == version(distribution), f"{distribution}: two versions"
    packed = {Path(str(file)).name for file in files(distribution) or ()}
    assert {"LICENSE", "py.typed"} <= packed, f"{distribution} lacks its licence or py.typed"
    print(f"{distribution} {module.__version__}: imports, licence inside")
