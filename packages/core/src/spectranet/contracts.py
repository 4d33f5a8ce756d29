"""What a modality, an objective, a task and a reader must be.

This file is the whole agreement between the core and its plugins. It imports no torch, so that ``spectranet
plugins`` can read a declaration without paying for it; torch-bound parts are named with :func:`lazy`.

Shape suffixes: B samples, N tokens of one sample, V visible tokens, H hidden (masked) tokens,
P coordinates of a position, Q queries, R rows gathered over a batch, D width, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from spectranet.addresses import lazy
from spectranet.moved import Moved

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

__all__ = [
    "Batch",
    "BuildContext",
    "Encoded",
    "Loss",
    "Modality",
    "ModalityBatch",
    "Objective",
    "Preset",
    "Preview",
    "Queries",
    "RawSample",
    "Reader",
    "Rows",
    "SampleSet",
    "Task",
    "TaskData",
    "Trunk",
    "Values",
    "lazy",
]


# ------------------------------------------------------------------------------------------ data


@dataclass(frozen=True)
class RawSample:
    """One aligned item as its reader found it: the undecoded bytes of each field."""

    key: str
    fields: Mapping[str, bytes]
    """Keyed by file extension or manifest column, in lower case (``jpg``, ``txt``)."""


@runtime_checkable
class SampleSet(Protocol):
    """Random access to the samples of one source; must pickle to data-loading workers."""

    def __len__(self) -> int: ...

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        """The sample in ``row``, with those of the ``wanted`` fields that it has.

        Raises:
            DataError: the sample cannot be read; names the file and the reason.
        """


@dataclass(frozen=True)
class Reader:
    """Opens one storage format.

    Args:
        name: what a source's ``format`` option says.
        matches: whether this reader takes a path when the format is ``auto``.
        open: ``(path, options: OpenOptions) -> SampleSet``.

    A set may say more of itself in attributes, all of them optional:

    - ``dropped: Mapping[str, int]``: how many rows it leaves out, by reason;
    - ``found: Collection[str]``: which fields there are; as a mapping, also how many rows have each;
    - ``parts: Sequence[int]``: number of rows of each part (shard), where rows are numbered part after
      part. Parts are shuffled, then rows within windows of parts, so that few parts are open at once;
    - ``identity: str``: a digest of the files' names and sizes, or the like; a copy elsewhere has the same;
    - ``broken: Mapping[str, str]``: parts that can be read only in part or not at all, and why;
    - ``key(row: int) -> str``: a method, what to call a row that cannot be read; must not touch storage;
    - ``ahead(parts: Sequence[int])``: a method, told by loaders which are wanted soon; must return at once.
    """

    name: str
    matches: Callable[[str], bool]
    open: Callable[..., SampleSet]


@dataclass(frozen=True)
class Values:
    """One modality of one sample after its transform: arrays, and where each token stands.

    The position and the segment of every token are data, not model state: masks, queries and loss weights
    are all known before the first forward. Samples may share arrays, so nobody writes to them.
    """

    data: Mapping[str, np.ndarray]
    """What encoder and target head need, for example ``{"pixels": uint8 (3, H, W)}``."""
    position_NP: np.ndarray
    """int32 (N, P): integer coordinates of each token, for example (row, column) of a patch."""
    segment_N: np.ndarray
    """int32 (N,): time segment of each token, -1 where there is no time."""


@dataclass(frozen=True)
class Preview:
    """Something to look at or to listen to, made from what a transform gave.

    ``kind`` is ``image``, ``audio`` or ``text``; ``content`` a file that browsers show or play, such as
    PNG or FLAC; ``pieces``, of a text, what each token reads as and whether it is hidden.
    """

    kind: str
    content: bytes = b""
    pieces: Sequence[tuple[str, bool]] = ()


@dataclass
class ModalityBatch(Moved):
    """One modality of a micro-batch, with the view that this pass shows of it.

    ``visible_BV`` and ``hidden_BH`` index into the N tokens of each sample; shorter rows repeat index 0, as
    the ``*_valid`` masks say. A hidden token is one that MMM asks for and the encoder must not see. ``data``
    is what ``collate`` made; all else is int64 or bool. ``host`` can be asked for numbers without a wait.
    """

    data: dict[str, torch.Tensor]
    position_BNP: torch.Tensor
    segment_BN: torch.Tensor
    valid_BN: torch.Tensor
    visible_BV: torch.Tensor
    visible_valid_BV: torch.Tensor
    hidden_BH: torch.Tensor
    hidden_valid_BH: torch.Tensor
    content_B: torch.Tensor
    """int64: hash of the undecoded bytes; equal inputs have equal values."""


@dataclass
class Batch(Moved):
    """A micro-batch: samples of one source, all with the same modalities."""

    keys: tuple[str, ...]
    source: str
    ids_B: torch.Tensor
    """int64: identity of each sample within the step's global batch, the same on every rank."""
    modalities: dict[str, ModalityBatch] = field(default_factory=dict)
    """Sorted by name."""

    def __len__(self) -> int:
        return len(self.keys)


# ----------------------------------------------------------------------------------------- model


@dataclass
class Encoded:
    """What an encoder gives for the visible tokens of one modality.

    Attributes:
        tokens_BND: (B, V, D) in the encoder's own width, finite at padding too.
        valid_BN: (B, V) bool, False at padding.
        position_BNP: (B, V, P) integer coordinates.
        segment_BN: (B, V) time segment or -1.
        pooled_BD: (B, D) one vector a sample.
    """

    tokens_BND: torch.Tensor
    valid_BN: torch.Tensor
    position_BNP: torch.Tensor
    segment_BN: torch.Tensor
    pooled_BD: torch.Tensor


@dataclass
class Queries:
    """Decoder inputs of one group.

    Attributes:
        group: the group's name; by convention the objective's.
        tokens_BQD: (B, Q, D) in the decoder's width.
        valid_BQ: (B, Q) bool.
        reads: modalities whose memory the group may attend to.
        sees: other groups that the group may attend to. It always sees itself.
        causal: whether a query sees only itself and earlier queries of its own group.
    """

    group: str
    tokens_BQD: torch.Tensor
    valid_BQ: torch.Tensor
    reads: tuple[str, ...]
    sees: tuple[str, ...] = ()
    causal: bool = False


@dataclass
class Loss:
    """A sum over a batch and the weight it is to be divided by.

    The core divides by the weight summed over all micro-batches and ranks of a step, so that the gradient
    is the same for every way of cutting the global batch. Metrics are read in the steps that are logged.
    """

    sum: torch.Tensor
    """Scalar, at least fp32."""
    weight: float | torch.Tensor
    """Tensors here are 0-D. Over the global batch it is a number; the loss is left out where that is 0."""
    metrics: dict[str, float | torch.Tensor] = field(default_factory=dict)


@dataclass
class Rows(Moved):
    """Embeddings that take part in a loss over the whole global batch.

    Attributes:
        vectors_RE: (R, E).
        ids_RI: (R, I) int64: whom each row belongs to, such as (sample,) or (sample, segment). Ask ``host``.
    """

    vectors_RE: torch.Tensor
    ids_RI: torch.Tensor


# --------------------------------------------------------------------------------------- plugins


@dataclass(frozen=True)
class Trunk:
    """A network that several modalities share, such as one ViT for images and video.

    Built once, configured under ``trunks.<name>``; each encoder that names it gets it passed to
    ``forward``. Like an encoder it has ``width`` and ``init_weights()``.
    """

    name: str
    config: type
    build: Callable[[Any], nn.Module]


@dataclass(frozen=True)
class Modality:
    """One kind of data: how it is decoded, cut into tokens, masked, encoded and predicted.

    Args:
        name: how configuration and objectives call it.
        config: dataclass of its options; every field has a default and ``metadata["help"]``.
        fields: file extensions and manifest columns it reads, the preferred first.
        decode: ``(bytes) -> raw``. Raises ``DecodeError``.
        build_transform: ``(config, train) -> transform``, with
            ``transform(raw, rng: numpy Generator) -> Values``; the transform pickles.
        collate: ``(list of Values.data) -> dict of tensors``, batch first, padded.
        sample_mask: ``(values, ratio, rng) -> bool (N,)``, True at tokens to hide.
        mask_ratio: share of the tokens that MMM hides unless configured otherwise.
        build_encoder: ``(config, trunk | None) -> nn.Module`` with ``width: int``,
            ``forward(ModalityBatch, trunk=None) -> Encoded`` and ``init_weights() -> None``; built
            on the meta device, then materialised and initialised. It must not keep the trunk; it
            casts its inputs to its parameters' dtype, and ``init_weights`` fills buffers too, since
            materialising leaves both unset.
        build_target_head: ``(config, width) -> nn.Module``: what MMM predicts, and its loss, with
            ``init_weights()``, maybe ``flops(hidden tokens) -> int`` (forward), ``forward(states_BHD,
            ModalityBatch) -> Loss``: of a token the mean over its components; weight: valid hidden tokens.
        shard_units: ``() -> tuple of module classes`` that FSDP and checkpointing wrap.
        flops: ``(config, tokens, visible, trunk config | None) -> int``: forward, one sample, with trunk.
        trunk: the network it shares with other modalities, if any.
        temporal: whether it has a time axis (``segment_N`` is not -1).
        vocab_size: for modalities made of discrete ids: ``(config) -> int``. Their
            ``data["ids"]`` is (B, N) int64, and they can be generated.
        fingerprint: ``(raw) -> int``: near-duplicate hash of 64 bits for curation.
        example: ``(rng) -> bytes``: an encoded sample, for tests and documentation.
        describe: ``(config, raw) -> {name: number}``: facts of a decoded sample for ``spectranet data
            inspect``. The unit ends the name (``duration_s``); ``_share``: 0 or 1, whether it holds.
        preview: ``(config, values, hidden_N) -> sequence of`` :class:`Preview`: what the model sees.
        largest: ``(config) -> Values``: the largest sample that can occur, of any content, for planning.
    """

    name: str
    config: type
    fields: tuple[str, ...]
    decode: Callable[[bytes], Any]
    build_transform: Callable[..., Callable[[Any, np.random.Generator], Values]]
    collate: Callable[[list[Mapping[str, np.ndarray]]], dict[str, torch.Tensor]]
    sample_mask: Callable[[Values, float, np.random.Generator], np.ndarray]
    build_encoder: Callable[..., nn.Module]
    build_target_head: Callable[..., nn.Module]
    shard_units: Callable[[], tuple[type, ...]]
    flops: Callable[[Any, int, int, Any], int]
    example: Callable[[np.random.Generator], bytes]
    fingerprint: Callable[[Any], int]
    mask_ratio: float = 0.15
    trunk: Trunk | None = None
    temporal: bool = False
    vocab_size: Callable[[Any], int] | None = None
    describe: Callable[[Any, Any], Mapping[str, float]] | None = None
    preview: Callable[[Any, Values, np.ndarray], Sequence[Preview]] | None = None
    largest: Callable[[Any], Values] | None = None


@dataclass(frozen=True)
class BuildContext:
    """What an objective may know of the model when it is built: names and widths, no encoder.

    Attributes:
        width: the decoder's width.
        encoder_widths: width of each modality's encoder.
        temporal: names of the modalities with a time axis.
        vocab_sizes: sizes of the vocabularies of discrete modalities.
        build_target_head: ``(modality name) -> nn.Module``, the modality's own target head.
        combinations: the sets of modalities that occur together in the sources of this run.
    """

    width: int
    encoder_widths: Mapping[str, int]
    temporal: tuple[str, ...]
    vocab_sizes: Mapping[str, int]
    build_target_head: Callable[[str], nn.Module]
    combinations: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Objective:
    """Asks queries, gets decoder states back, returns losses as (sum, weight).

    ``config.weight``, a float, is what the core multiplies its losses by. ``build(config, context)`` raises
    ``ConfigError`` where an option names a modality that the run lacks, and returns an ``nn.Module`` with

    - ``terms: tuple[str, ...]``: its losses, sorted, each begun with its name (``mmm.image``); fixed.
    - ``weights(batch) -> dict[term, float]``: the weight of each term that occurs, from data alone.
    - ``queries(batch, encoded) -> Queries | None``.
    - ``loss(states_BQD | None, encoded, batch) -> dict[term, Loss]``: states of its own queries.
    - ``init_weights() -> None``.

    With ``needs_global_batch`` the loss is taken over all samples of the step at once. The module
    then has, instead of ``weights``, ``queries`` and ``loss``, which are not called:

    - ``embeddings(encoded, batch) -> dict[name, Rows]``.
    - ``global_loss(dict[name, Rows]) -> dict[term, Loss]``: of the whole step's rows; weights: what occurs.

    Tokens are hidden where an objective has an option ``ratios``: modality -> share; else ``mask_ratio``.
    A module may also have ``after_step() -> None``, called once after each optimizer step (to clamp
    a scale, say), and ``flops(batch) -> int``: its heads' forward on the valid tokens, counted in MFU.
    Submodules with ``full_precision = True`` stay in fp32. ``encoded``: modality -> :class:`Encoded`.
    """

    name: str
    config: type
    build: Callable[[Any, BuildContext], nn.Module]
    needs_global_batch: bool = False


class TaskData(Protocol):
    """Evaluation data: named sets of batches, never shuffled, no augmentation, nothing hidden."""

    def names(self) -> tuple[str, ...]: ...

    def batches(self, name: str) -> Sequence[Batch] | Any: ...


@dataclass(frozen=True)
class Task:
    """A way to measure a model.

    Args:
        name: how the configuration calls it.
        config: dataclass of its options.
        metrics: names of the figures it returns, as patterns: ``{source}/text-image/R@1``.
        evaluate: ``(model: Embedder, data: TaskData, config) -> dict[str, float]``, on every rank.
        finetune_objective: the objective that trains for it, if one does; a loaded plugin must bring it.
    """

    name: str
    config: type
    metrics: tuple[str, ...]
    evaluate: Callable[..., dict[str, float]]
    finetune_objective: str | None = None


@dataclass(frozen=True)
class Preset:
    """A named configuration, as the text of a YAML file.

    Args:
        name: what ``--config`` says.
        summary: one line for listings.
        yaml: the text.
    """

    name: str
    summary: str
    yaml: str
