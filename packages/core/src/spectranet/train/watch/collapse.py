"""Do the embeddings still tell samples apart?

Shape suffixes: R rows of the global batch, E their width, S samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from spectranet.contracts import Rows

__all__ = ["CollapseGuard", "embedding_figures"]

_MOST_ROWS = 512
"""For the effective rank, whose cost grows with their square."""


@torch.no_grad()
def embedding_figures(rows: Mapping[str, Mapping[str, Rows]], terms: frozenset[str]) -> dict[str, Tensor]:
    """Figures of the rows that objectives compare over the global batch, as fp32 ().

    ``embedding/OBJECTIVE.ROWS/variance`` is that of unit vectors, summed over the dimensions: 1 where they
    point everywhere, 0 where all point the same way. ``…/rank`` is the participation ratio of the
    covariance's eigenvalues, (sum)^2 / sum of squares, of at most 512 rows: how many directions are in use.
    ``similarity/TERM/positive`` and ``…/negative`` are mean cosines of rows of one sample and of two, for
    each ``OBJECTIVE.A-B`` among ``terms``. Nothing is said of what has no row in this step.
    """
    found: dict[str, Tensor] = {}
    for objective, by_name in sorted(rows.items()):
        vectors = {name: one.vectors_RE for name, one in sorted(by_name.items()) if len(one.vectors_RE)}
        unit = {name: F.normalize(each_RE.float(), dim=-1) for name, each_RE in vectors.items()}
        for name, unit_RE in unit.items():
            centred_RE = unit_RE - unit_RE.mean(0)
            found[f"embedding/{objective}.{name}/variance"] = centred_RE.square().sum(1).mean()
            few_RE = centred_RE[:: -(-len(centred_RE) // _MOST_ROWS)]
            products_RR = few_RE @ few_RE.T
            total = products_RR.trace().square()
            found[f"embedding/{objective}.{name}/rank"] = total / products_RR.square().sum().clamp_min(1e-30)
        for a, b in combinations(unit, 2):
            if (term := f"{objective}.{a}-{b}") in terms:
                ids = by_name[a].host.ids_RI[:, 0], by_name[b].host.ids_RI[:, 0]
                positive, negative = _similarities(unit[a], unit[b], *ids)
                found |= {f"similarity/{term}/positive": positive, f"similarity/{term}/negative": negative}
    return found


def _similarities(a_RE: Tensor, b_RE: Tensor, ids_a_R: Tensor, ids_b_R: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine within a sample and between samples, without a matrix of all pairs."""
    _, sample_R = torch.cat([ids_a_R, ids_b_R]).unique(return_inverse=True)  # on the host, as ids are
    samples = int(sample_R.max()) + 1
    sums_a_SE, count_a_S = _by_sample(a_RE, sample_R[: len(a_RE)], samples)
    sums_b_SE, count_b_S = _by_sample(b_RE, sample_R[len(a_RE) :], samples)
    same, all_pairs = (sums_a_SE * sums_b_SE).sum(), a_RE.sum(0) @ b_RE.sum(0)
    count_same = (count_a_S * count_b_S).sum()
    count_other = (len(a_RE) * len(b_RE) - count_same).clamp_min(1)
    return same / count_same.clamp_min(1), (all_pairs - same) / count_other


def _by_sample(rows_RE: Tensor, sample_R: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    index_R, count_S = sample_R, torch.bincount(sample_R, minlength=samples)
    index_R, count_S = (each.to(rows_RE.device, non_blocking=True) for each in (index_R, count_S))
    return rows_RE.new_zeros(samples, rows_RE.shape[1]).index_add_(0, index_R, rows_RE), count_S


class CollapseGuard:
    """Says it once when embeddings have had next to no variance in ``patience`` records in a row.

    Args:
        floor: 0.01: a mean cosine of 0.99 between any two samples.
    """

    def __init__(self, floor: float = 0.01, patience: int = 10) -> None:
        self.floor, self.patience = floor, patience
        self._in_a_row: Counter[str] = Counter()

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """Of one record."""
        found = []
        for name, value in figures.items():
            if name.startswith("embedding/") and name.endswith("/variance"):
                self._in_a_row[name] = self._in_a_row[name] + 1 if value < self.floor else 0
                if self._in_a_row[name] == self.patience:
                    which = name.split("/")[1]
                    found.append(
                        f"warning: the embeddings {which} have collapsed: in {self.patience} records in a "
                        f"row any two samples had a cosine above {1 - self.floor:g} on average.\n"
                        "  it rarely mends itself; lower train.optimizer.lr_peak, warm up longer, or take a "
                        "larger train.global_batch"
                    )
        return found
