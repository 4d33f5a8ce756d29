"""What the contract asks of an objective."""

from __future__ import annotations

from spectranet.testing.objective.build import ObjectiveBuild
from spectranet.testing.objective.cuts import ObjectiveCuts
from spectranet.testing.objective.loss import ObjectiveLoss
from spectranet.testing.objective.queries import ObjectiveQueries

__all__ = ["ObjectiveConformance"]


class ObjectiveConformance(ObjectiveCuts, ObjectiveQueries, ObjectiveLoss, ObjectiveBuild):
    """Subclass, name the plugin and the objective, and run pytest.

        class TestRecall(ObjectiveConformance):
            plugin, name = "recall", "recall"

    An objective sees names, widths, batches, encodings and decoder states; the kit makes all of these up, so
    that no other plugin is needed.

    Attributes:
        modalities: what the kit makes up, as :class:`spectranet.testing.ToyModality`: by default ``audio``
            with a time axis, ``image`` and, of discrete ids, ``text``.
        missing: option -> a value that names the modality ``nowhere``, where the kit cannot see from the
            option's value that it names modalities.
        detached: what the loss compares with but sends no gradient to, on purpose: ``pooled of text``,
            ``tokens of image``.
        rtol: how far losses, and the norms of gradients, may be off in fp32, relative.
        bf16_rtol: how far the loss of bf16 inputs may be off from float64 on the same inputs, relative.
    """
