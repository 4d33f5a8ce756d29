"""Which merged configurations make no sense? Arithmetic and names that no type can check.

Each problem is a pair: the option to blame, and a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from spectranet.config.schema import Config, SourceConfig
from spectranet.config.sizes import fits, fitting_global_batch, fitting_micro_batch
from spectranet.errors import did_you_mean
from spectranet.plugin_messages import install_command
from spectranet.plugins import FIRST_PARTY, PluginHost, discover, first_party_bringing, installed_first_party

__all__ = [
    "CHOICES",
    "Problem",
    "core_problems",
    "data_problems",
    "missing_name",
    "training_problems",
    "unset_paths",
]

Problem = tuple[str, str]
"""Dotted name of an option, and what is wrong with it."""

CHOICES = {
    "model.decoder.mlp": ("swiglu", "gelu"),
    "model.decoder.norm": ("rmsnorm", "layernorm"),
    "train.precision": ("fp32", "bf16"),
    "train.device": ("auto", "cpu", "cuda"),
    "train.activation_checkpointing": ("none", "selective", "full"),
    "train.gather": ("reshard", "keep"),
}

_AT_LEAST = {
    "model.decoder.width": 1,
    "model.decoder.layers": 1,
    "model.decoder.heads": 1,
    "model.decoder.mlp_hidden": 1,
    "data.workers": 0,
    "data.threads": 1,
    "data.prefetch": 1,
    "data.window_shards": 1,
    "data.cache_gib": 0,
    "train.steps": 1,
    "train.global_batch": 1,
    "train.slots": 1,
    "train.micro_batch": 1,
    "train.threads": 1,
    "train.shard_ranks": 1,
    "train.seed": 0,
    "train.skip_limit": 1,
    "train.log_every": 1,
    "train.checkpoint.every": 1,
    "train.checkpoint.keep_last": 1,
    "train.checkpoint.keep_every": 0,
    "train.optimizer.lr_floor": 0,
    "train.optimizer.warmup_steps": 0,
    "train.optimizer.weight_decay": 0,
    "train.optimizer.beta1": 0,
    "train.optimizer.beta2": 0,
    "eval.every": 0,
    "eval.batch": 1,
    "eval.limit": 1,
}

_ABOVE_ZERO = (
    "data.stall_s",
    "train.peak_tflops",
    "train.timeout_s",
    "train.optimizer.lr_peak",
    "train.optimizer.eps",
    "train.optimizer.clip_norm",
)


def core_problems(config: Config, host: PluginHost) -> Iterator[Problem]:
    """Everything that the core can tell from the merged values and the loaded plugins' names."""
    for path, choices in CHOICES.items():
        if (value := _value(config, path)) not in choices:
            yield path, f"unknown '{value}'.{did_you_mean(value, choices)} choose: {', '.join(choices)}"
    yield from _range_problems(config)
    yield from _batch_problems(config)
    decoder = config.model.decoder
    if decoder.heads >= 1 and decoder.width % decoder.heads:
        yield "model.decoder.heads", f"{decoder.heads} does not divide model.decoder.width = {decoder.width}"
    for section, sources in (("data", config.data.sources), ("eval", config.eval.sources)):
        for name, source in sources.items():
            yield from _source_problems(f"{section}.sources.{name}", source, host)
    for name in config.tasks:
        objective = host.tasks[name].finetune_objective
        if objective is not None and objective not in host.objectives:
            yield (
                f"tasks.{name}",
                f"objective '{objective}' trains for it; {missing_name('objective', objective, host)}",
            )


def training_problems(config: Config) -> Iterator[Problem]:
    """What a run needs, and showing or planning a configuration does not."""
    yield from unset_paths(config)
    if not config.objectives:
        yield (
            "objectives",
            "nothing to learn; start from a preset, --config tiny, or enable an objective, "
            "for example 'objectives.mmm={}'",
        )
    if not config.data.sources:
        yield (
            "data.sources",
            "nothing to train on; name a source: data.sources.pictures.path=pictures.jsonl "
            "'data.sources.pictures.modalities=[image,text]'",
        )


def unset_paths(config: Config) -> Iterator[Problem]:
    """Sources that are named and lie nowhere: enough to plan with."""
    for section, sources in (("data", config.data.sources), ("eval", config.eval.sources)):
        for name, source in sources.items():
            if not source.path:
                yield (
                    f"{section}.sources.{name}.path",
                    "is not set; it wants a manifest, tar shards or a folder",
                )


def data_problems(config: Config) -> Iterator[Problem]:
    """What is wrong in section ``data`` apart from its sources."""
    yield from _limit_problems(config, lambda path: path.startswith("data."))
    if not 0 <= config.data.failure_limit <= 1:
        yield "data.failure_limit", f"{config.data.failure_limit} is not a share from 0 to 1"
    if not config.data.cache_dir.strip():
        yield "data.cache_dir", "is empty; it wants a folder, such as ~/.cache/spectranet"


def missing_name(kind: str, name: str, host: PluginHost) -> str:
    """Why a modality, objective or task is not there, and how to get it."""
    plugin = first_party_bringing(kind, name)
    if plugin is not None and plugin not in host.names:
        if plugin in installed_first_party(discover()):
            if plugin in Config().objective_plugins:
                # It is loaded whatever --plugins says, unless this setting says otherwise.
                return (
                    f"plugin '{plugin}', which brings {kind} '{name}', is switched off by objective_plugins, "
                    f"which does not name it; drop that setting, or write objective_plugins=[{plugin}]"
                )
            return f"plugin '{plugin}', which brings {kind} '{name}', is not loaded; add it to --plugins"
        command = install_command(FIRST_PARTY[plugin].distribution)
        return f"plugin '{plugin}', which brings {kind} '{name}', is not installed; install it:  {command}"
    plural = {"modality": "modalities"}.get(kind, f"{kind}s")
    loaded = getattr(host, plural)
    ours = [known for plugin in FIRST_PARTY.values() for known in getattr(plugin, plural)]
    hint = did_you_mean(name, [*loaded, *ours])
    spare = sorted({info.name for info in discover()} - {*host.names, *FIRST_PARTY})
    if name in spare:
        # Most plugins have the name of what they bring; metadata says no more.
        return (
            f"no loaded plugin brings {kind} '{name}'. Plugin '{name}' is installed and not loaded; "
            "add it to --plugins"
        )
    also = f"; installed and not loaded: {', '.join(spare)}" if spare else ""
    return f"no loaded plugin brings {kind} '{name}'.{hint} loaded: {', '.join(loaded) or 'none'}{also}"


def _value(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def _limit_problems(config: Config, concerns: Callable[[str], bool]) -> Iterator[Problem]:
    for path, least in _AT_LEAST.items():
        value = _value(config, path) if concerns(path) else None
        if value is not None and not value >= least:  # which nan is not either
            yield path, f"{value} is less than {least}"
    for path in _ABOVE_ZERO:
        value = _value(config, path) if concerns(path) else None
        if value is not None and not value > 0:
            yield path, f"{value} is not above 0"


def _range_problems(config: Config) -> Iterator[Problem]:
    yield from data_problems(config)
    yield from _limit_problems(config, lambda path: not path.startswith("data."))
    optimizer = config.train.optimizer
    for path in ("train.optimizer.beta1", "train.optimizer.beta2"):
        if (value := _value(config, path)) >= 1:
            yield path, f"{value} is not below 1"
    if optimizer.lr_floor > optimizer.lr_peak:
        yield (
            "train.optimizer.lr_floor",
            f"{optimizer.lr_floor} is above train.optimizer.lr_peak = {optimizer.lr_peak}",
        )


def _batch_problems(config: Config) -> Iterator[Problem]:
    train = config.train
    if train.slots < 1 or train.global_batch < 1:
        return
    if train.global_batch % train.slots:
        works = fitting_global_batch(train.global_batch, train.slots)
        yield (
            "train.global_batch",
            f"{train.global_batch} is not a multiple of train.slots = {train.slots}; {works} would be",
        )
        return
    slot = train.global_batch // train.slots
    micro = train.micro_batch
    if micro is not None and micro >= 1 and not fits(micro, slot):
        yield (
            "train.micro_batch",
            f"{micro} neither divides nor is a multiple of a slot: "
            f"train.global_batch / train.slots = {slot}; {fitting_micro_batch(micro, slot)} does",
        )


def _source_problems(path: str, source: SourceConfig, host: PluginHost) -> Iterator[Problem]:
    if source.format != "auto" and source.format not in host.readers:
        formats = ["auto", *host.readers]
        hint = did_you_mean(source.format, formats)
        yield (
            f"{path}.format",
            f"no loaded plugin reads '{source.format}'.{hint} formats: {', '.join(formats)}",
        )
    if not source.modalities:
        yield f"{path}.modalities", "is empty; it wants a list, such as [image, text]"
    for name in _repeated(source.modalities):
        yield f"{path}.modalities", f"names '{name}' more than once"
    for name in dict.fromkeys(source.modalities):
        if name not in host.modalities:
            yield f"{path}.modalities", missing_name("modality", name, host)
    if source.weight < 0:
        yield f"{path}.weight", f"{source.weight} is less than 0"
    if source.weight == 0:
        yield f"{path}.weight", f"is 0, so nothing would be drawn from it; to drop the source:  {path}=null"
    for column, values in source.where.items():
        if values == []:
            yield f"{path}.where.{column}", "is an empty list: no row would be left; name a value"
    for part in ("fields", "overrides"):
        for name in getattr(source, part):
            if name not in source.modalities:
                hint = did_you_mean(name, source.modalities)
                yield f"{path}.{part}.{name}", f"'{name}' is not a modality of this source.{hint}"


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def option_paths(options: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all options of a dataclass instance, nested ones included."""
    for item in fields(options):
        value = getattr(options, item.name)
        yield f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from option_paths(value, f"{prefix}{item.name}.")
