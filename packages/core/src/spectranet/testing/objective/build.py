"""Is an objective built as the contract says: options, parameters, terms, methods?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from spectranet.config.schema import Config, SourceConfig
from spectranet.errors import ConfigError
from spectranet.testing.clause import clause, require
from spectranet.testing.objective.case import ObjectiveCase, build_on_meta, filled
from spectranet.testing.objective.losses import number
from spectranet.testing.objective.samples import make_context

__all__ = ["ObjectiveBuild"]

_LOCAL = ("weights", "queries", "loss")
_GLOBAL = ("embeddings", "global_loss")
_NOWHERE = "nowhere"


class ObjectiveBuild(ObjectiveCase):
    """Clauses that need no batch."""

    @clause
    def test_init_weights_fills_everything(self) -> None:
        """``build`` works on the meta device, and ``init_weights`` fills every parameter and buffer.

        The module is materialised twice, its memory once full of NaN and once of sevens; after
        ``init_weights`` under one seed both must be equal and finite. Parameters have one dimension at
        least, since FSDP2 refuses to shard others: make a scale ``torch.empty(1)``. Fill what a submodule
        holds by calling its own ``init_weights``, and buffers in ``init_weights`` too, not in the
        constructor.
        """
        first = build_on_meta(self.objective(), self.config(), self.context())
        require(isinstance(first, nn.Module), f"build returns {type(first).__name__}, not an nn.Module")
        real = [name for name, tensor in _tensors(first).items() if not tensor.is_meta]
        require(not real, f"built under torch.device('meta'), yet not on it: {', '.join(real)}")
        flat = [name for name, tensor in first.named_parameters() if tensor.ndim == 0]
        require(not flat, f"parameters without a dimension, which cannot be sharded: {', '.join(flat)}")
        second = build_on_meta(self.objective(), self.config(), self.context())
        one, other = (_tensors(filled(m, p)) for m, p in ((first, float("nan")), (second, 7.0)))
        unset = [name for name in one if not torch.equal(one[name], other[name])]
        require(not unset, f"not set by init_weights, or drawn without the seed: {', '.join(unset)}")
        odd = [name for name, tensor in one.items() if not torch.isfinite(tensor).all()]
        require(not odd, f"not finite after init_weights: {', '.join(odd)}")

    @clause
    def test_terms_are_fixed(self) -> None:
        """``terms`` is a sorted tuple of unique names that begin with the objective's, fixed when built.

        Ranks add up the weights of all terms by their place in the sorted names, and a term's coefficient is
        that of the objective it belongs to; so two objectives must not share a term. The kit's modalities
        must bring about one term at least: name those that the objective is about in ``modalities``.
        """
        module = self.build()
        terms = module.terms
        require(isinstance(terms, tuple), f"terms is a {type(terms).__name__}: {terms!r}")
        require(all(isinstance(t, str) for t in terms), f"terms holds what is no name: {terms!r}")
        shown = ", ".join(one.name for one in self.modalities)
        require(terms, f"terms is empty in a run with {shown}; name its modalities in `modalities`")
        require(list(terms) == sorted(set(terms)), f"not sorted, or not unique: {', '.join(terms)}")
        foreign = [term for term in terms if not term.startswith(self.objective().name)]
        require(not foreign, f"not begun with '{self.objective().name}': {', '.join(foreign)}")
        again = self.build().terms
        require(terms == again, f"{', '.join(terms)} when built first, {', '.join(again)} when built again")
        self.trial().losses([self.shown()])
        require(module.terms == terms, f"{', '.join(terms)} changed to {', '.join(module.terms)}")

    @clause
    def test_methods_of_its_kind(self) -> None:
        """A local objective has ``weights``, ``queries`` and ``loss``, one over the global batch
        ``embeddings`` and ``global_loss``; both have ``terms`` and ``init_weights``.

        The methods of the other kind are never called: whoever reads the module must not believe in them.
        """
        module, needs = self.build(), self.objective().needs_global_batch
        wanted, others = (_GLOBAL, _LOCAL) if needs else (_LOCAL, _GLOBAL)
        lacking = [n for n in (*wanted, "init_weights") if not callable(getattr(module, n, None))]
        require(not lacking, f"needs_global_batch is {needs}, and it lacks {', '.join(lacking)}")
        # Of the class: a parameter or a submodule may be called `weights` or `loss`.
        idle = [name for name in others if hasattr(type(module), name)]
        require(not idle, f"needs_global_batch is {needs}, so {', '.join(idle)} would never be called")

    @clause
    def test_coefficient_is_an_option(self) -> None:
        """The options have a ``weight``, a float, by which the core multiplies the losses and the module does
        not.

        The losses of two modules are compared whose ``weight`` differs by a factor of three.
        """
        weight = getattr(self.config(), "weight", None)
        require(isinstance(weight, float), f"the option 'weight' is {weight!r}, not a float")
        once = self.trial(weight=1.0).losses([self.shown()])
        thrice = self.trial(weight=3.0).losses([self.shown()])
        for term, loss in once.items():
            found, other = number(loss.sum), number(thrice[term].sum)
            near = abs(found - other) <= self.rtol * abs(found)
            require(near, f"the sum of '{term}' is {found:g} at weight 1 and {other:g} at weight 3")

    @clause
    def test_missing_modality_is_named(self) -> None:
        """An option that names a modality which the run lacks is answered before the run starts, by an error
        that names the objective and the modality: a ``ConfigError`` of ``build``, or a sentence of
        ``spectranet_check_config``.

        Each option that is a modality of the kit or a list of some, or whose name ends in ``modality`` or
        ``modalities``, is made to name ``nowhere``; ``missing`` maps further options to values that do.
        Options keyed by modality may speak of absent ones, since presets do; that a modality is absent from
        one batch is no error either, see ``batch-without-a-modality-is-skipped``.
        """
        cases = {**dict(self._options_that_name_a_modality()), **self.missing}
        self.only_where(cases, "no option names a modality")
        for option, value in cases.items():
            said = self._complaint({option: value})
            require(said, f"{option} = {value!r} is accepted, and nothing is said")
            lacks = [word for word in (self.objective().name, _NOWHERE) if word not in said]
            require(
                not lacks, f"{option} = {value!r} is answered without naming {' and '.join(lacks)}: {said}"
            )

    @classmethod
    def _options_that_name_a_modality(cls) -> Iterator[tuple[str, Any]]:
        names, config = {one.name for one in cls.modalities}, cls.config()
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            named = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            speaks = any(name in named for name in names)
            if isinstance(value, str | None) and (speaks or field.name.endswith("modality")):
                yield field.name, _NOWHERE
            elif isinstance(value, list | None) and (speaks or field.name.endswith("modalities")):
                yield field.name, [*named, _NOWHERE]

    @classmethod
    def _complaint(cls, options: Mapping[str, Any]) -> str:
        try:
            build_on_meta(cls.objective(), cls.config(**options), make_context(cls.modalities))
        except ConfigError as error:
            return str(error)
        config = Config()
        config.objectives = {cls.objective().name: cls.config(**options)}
        config.data.sources = {"kit": SourceConfig(modalities=[one.name for one in cls.modalities])}
        problems = cls.host().config_problems(config, training=True)
        return "\n".join(sentence for _, sentence in problems)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
