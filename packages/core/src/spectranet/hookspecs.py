"""Every hook a plugin can implement, on one page.

Hooks run at start-up or at logging cadence, never inside the training step. Implementations take
any subset of the arguments. Mark them with ``@spectranet.hookimpl``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from spectranet.config import Config
    from spectranet.contracts import Modality, Objective, Preset, Reader, Task

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("spectranet")
hookimpl = pluggy.HookimplMarker("spectranet")


@hookspec
def spectranet_modalities() -> Iterable[Modality]:
    """The modalities this plugin brings.

    Called whenever plugins are loaded, on every rank and maybe more than once: it only declares.
    """


@hookspec
def spectranet_objectives() -> Iterable[Objective]:
    """The training objectives this plugin brings.

    Called whenever plugins are loaded, like ``spectranet_modalities``; built only if the run trains with it.
    """


@hookspec
def spectranet_tasks() -> Iterable[Task]:
    """The evaluation tasks this plugin brings.

    Called whenever plugins are loaded, like ``spectranet_modalities``; run if the configuration names it.
    """


@hookspec
def spectranet_readers() -> Iterable[Reader]:
    """The storage formats this plugin can read samples from.

    Called whenever plugins are loaded, like ``spectranet_modalities``; opened when a source takes it.
    """


@hookspec
def spectranet_presets() -> Iterable[Preset]:
    """Named configurations for ``--config``.

    Called whenever plugins are loaded, before any configuration is read.
    """


@hookspec
def spectranet_check_config(config: Config, training: bool) -> Iterable[str]:
    """Problems of a merged configuration that no schema can see, a sentence each.

    Called when the configuration is merged, beside the checks of the core, on every rank, before anything is
    built. ``training`` says that a run is about to start, so that files which options name must exist.
    """


@hookspec
def spectranet_log(record: Mapping[str, Any], run_dir: str) -> None:
    """One record of ``metrics.jsonl``, on rank 0: a sink forwards it to a tracker.

    Called every ``train.log_every`` steps and after an evaluation, from a thread of its own: the run does
    not wait. What it raises is a warning, and the record comes again.
    """


@hookspec
def spectranet_checkpoint_saved(path: str, step: int) -> None:
    """A checkpoint is complete at ``path``, on rank 0.

    Called once its files are on disk and it has its name; the run waits. What it raises is a warning.
    """


@hookspec
def spectranet_commands() -> Iterable[click.Command]:
    """Commands to add to ``spectranet``.

    Called when ``spectranet`` is given a word that is no command of the core, whether the plugin is in
    ``--plugins`` or not.
    """
