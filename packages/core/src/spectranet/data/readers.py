"""Which storage formats can be read without a plugin?"""

from __future__ import annotations

from spectranet.contracts import Reader
from spectranet.data.folder import FolderSamples, is_folder
from spectranet.data.manifest import ManifestSamples
from spectranet.data.paths import is_manifest
from spectranet.data.shards import is_webdataset
from spectranet.data.tar import TarSamples

__all__ = ["readers"]


def readers() -> list[Reader]:
    """Manifests, WebDataset shards, folders; a folder of tars counts as shards."""
    return [
        Reader("manifest", is_manifest, ManifestSamples),
        Reader("webdataset", is_webdataset, TarSamples),
        Reader("folder", lambda path: is_folder(path) and not is_webdataset(path), FolderSamples),
    ]
