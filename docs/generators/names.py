"""docs/reference/names.md: everything in ``spectranet.__all__`` that contracts.py does not declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from declarations import declaration
from sources import CORE, Source

__all__ = ["documented", "names_page"]

SECTIONS: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "Declaring": (
        "",
        {"addresses.py": ("lazy",), "config/schema.py": ("option",), "data/options.py": ("OpenOptions",)},
    ),
    "Errors": (
        "The command line prints these without a traceback and ends with their exit code. Say who, what and\n"
        "the next command. A decoder raises `DecodeError`, a reader `DataError`: the sample is replaced.",
        {"errors.py": ("SpectraNetError", "ConfigError", "DataError", "DecodeError", "PluginError")},
    ),
    "Tensors": (
        "",
        {
            "model/functional.py": ("gather_tokens", "select_tokens", "sincos_position"),
            "model/cross_entropy.py": ("chunked_cross_entropy",),
            "model/initialise.py": ("init_linear", "init_transformers"),
        },
    ),
    "Measuring": ("", {"tasks/embedder.py": ("Embedder",)}),
    "Configuration": (
        "What `spectranet_check_config` is given. `spectranet config show` prints it with the options of\n"
        "the loaded plugins, and where each value came from. `Config` and `SourceConfig` are imported from\n"
        "`spectranet`; the sections are reached through them.",
        {
            "config/schema.py": (
                "Config",
                "SourceConfig",
                "DataConfig",
                "ModelConfig",
                "DecoderConfig",
                "TrainConfig",
                "OptimizerConfig",
                "CheckpointConfig",
                "EvalConfig",
            )
        },
    ),
}
"""Title -> (what to know first, file below the core -> names)."""

HEAD = """# Other names

A plugin imports what `spectranet.__all__` offers, as `from spectranet import name`, and nothing else of
the core. Most of it is in the [contract reference](contracts.md); `hookimpl`, which marks an
implementation, is in the [hook reference](hooks.md); here is the rest. `python docs/generate.py` makes
this page from the sources.

Shapes: B samples, N tokens, K gathered tokens, R rows, P coordinates, D width, V vocabulary.
"""


def names_page(links: Mapping[str, str]) -> str:
    page = [HEAD]
    for title, (introduction, files) in SECTIONS.items():
        page.append(f"## {title}\n")
        page += [f"{introduction}\n"] if introduction else []
        for file, names in files.items():
            module = Source.read(CORE / file).module
            page += [declaration(name, module[name], links) for name in names]
    return "\n".join(page)


def documented() -> Iterable[str]:
    return (name for _, files in SECTIONS.values() for names in files.values() for name in names)
