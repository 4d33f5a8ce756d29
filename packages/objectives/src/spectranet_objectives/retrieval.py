"""Retrieval: how often the counterpart of a sample is found among all of a held-out source.

Samples with identical content are one item: ten spoken words said a hundred times make a gallery of
ten texts, so that speech to text is a choice of ten. A query is right when any item it was paired
with ranks in the first k. Of an objective whose identities are (sample,) alone, each sample is an item.

Shape suffixes: R samples, Q distinct queries, C distinct candidates, E joint width, I columns of an
identity: (sample, hash of the content) or (sample,).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectranet import ConfigError, Embedder, Rows, TaskData
from spectranet_objectives.config import RetrievalConfig

__all__ = ["Direction", "chance_of_hit", "evaluate", "rank_direction"]

_QUERIES_AT_ONCE = 1024


@dataclass(frozen=True)
class Direction:
    """How the queries of one modality fared against the candidates of another.

    Attributes:
        rank_Q: place of each query's best partner, from 1; ties count against it.
        partners_Q: how many candidates are right.
        candidates: size of the gallery.
        examples: the first queries with their best candidates, to look at.
    """

    rank_Q: Tensor
    partners_Q: Tensor
    candidates: int
    examples: list[dict[str, Any]]

    def figures(self, ks: list[int]) -> dict[str, float]:
        """Recall, the recall of a blind guess (``chance`` at 1), median rank, and the counts."""
        figures = {f"R@{k}": float((self.rank_Q <= k).double().mean()) for k in ks}
        sizes, counts = self.partners_Q.unique(return_counts=True)
        for k in sorted({1, *ks}):
            hits = [chance_of_hit(int(size), self.candidates, k) for size in sizes]
            mean = sum(h * int(n) for h, n in zip(hits, counts, strict=True)) / len(self.rank_Q)
            figures["chance" if k == 1 else f"chance@{k}"] = mean
        figures["median_rank"] = float(self.rank_Q.double().quantile(0.5))
        return figures | {"candidates": float(self.candidates), "queries": float(len(self.rank_Q))}


def evaluate(model: Embedder, data: TaskData, config: RetrievalConfig) -> dict[str, float]:
    """``{source}/{a}-{b}/R@k`` and the rest of :meth:`Direction.figures`, for each source and direction.

    Every rank reads all batches; ``model.embed`` takes them as ``data`` gives them.

    Raises:
        ConfigError: the model was not trained with the objective, or it does not give a row a sample.
    """
    name = config.objective
    if name not in model.objectives:
        raise ConfigError(
            f"task 'retrieval' compares the embeddings of the objective '{name}', which this model lacks.\n"
            f"  train with it:  objectives.{name}={{}}\n  or another's:  tasks.retrieval.objective=NAME\n"
            "  or drop the task:  tasks.retrieval=null"
        )
    figures: dict[str, float] = {}
    examples: dict[str, list[dict[str, Any]]] = {}
    for source in data.names():
        rows, keys = _embed_all(model, data, source, name)
        for a, b in permutations(sorted(rows), 2):
            direction = rank_direction(rows[a], rows[b], keys, config.max_candidates, config.save_examples)
            if direction is not None:
                figures |= {f"{source}/{a}-{b}/{k}": v for k, v in direction.figures(list(config.ks)).items()}
                examples[f"{source}/{a}-{b}"] = direction.examples
    if config.save_examples and _is_first_rank():
        Path(config.examples_path).parent.mkdir(parents=True, exist_ok=True)
        Path(config.examples_path).write_text(json.dumps(examples, indent=1))
    return figures


@torch.no_grad()
def _embed_all(
    model: Embedder, data: TaskData, source: str, objective: str
) -> tuple[dict[str, Rows], list[str]]:
    """The rows of a whole source with samples numbered through, and the samples' keys by number."""
    parts: dict[str, list[Rows]] = {}
    keys: list[str] = []
    for batch in data.batches(source):
        number = {int(sample): len(keys) + place for place, sample in enumerate(batch.ids_B)}
        for name, rows in model.embed(objective, batch).items():
            ids_RI = rows.ids_RI.cpu()
            sample_R = torch.tensor([number[int(sample)] for sample in ids_RI[:, 0]], dtype=torch.int64)
            if len(sample_R.unique()) < len(sample_R):
                raise ConfigError(
                    f"task 'retrieval' compares samples; the objective '{objective}' has several rows of one"
                    f" for '{name}'.\n  compare another's:  tasks.retrieval.objective=contrastive"
                )
            content_R = ids_RI[:, 1] if ids_RI.shape[1] > 1 else sample_R
            ids_R2 = torch.stack([sample_R, content_R], dim=1)
            parts.setdefault(name, []).append(Rows(rows.vectors_RE.float(), ids_R2))
        keys.extend(batch.keys)
    joined = {
        name: Rows(torch.cat([r.vectors_RE for r in some]), torch.cat([r.ids_RI for r in some]))
        for name, some in parts.items()
    }
    return joined, keys


def rank_direction(
    queries: Rows, candidates: Rows, keys: list[str], most: int | None = None, examples: int = 0
) -> Direction | None:
    """Rank the distinct contents of ``candidates`` for the distinct contents of ``queries``.

    Only samples with both count. An item's vector and key are those of its first sample.

    Args:
        most: keep this many candidates, the first ones; queries left without a partner are dropped.

    Returns:
        None where no sample has both.
    """
    both, at_query, at_candidate = _intersect(queries.ids_RI[:, 0], candidates.ids_RI[:, 0])
    if len(both) == 0:
        return None
    query_R, first_Q = _items(queries.ids_RI[at_query, 1])
    candidate_R, first_C = _items(candidates.ids_RI[at_candidate, 1])
    first_C = first_C[:most]
    paired_R = candidate_R < len(first_C)
    partner_QC = torch.stack([query_R[paired_R], candidate_R[paired_R]]).unique(dim=1)
    asked_Q = partner_QC[0].unique()

    query_QE = queries.vectors_RE[at_query[first_Q[asked_Q]]]
    candidate_CE = candidates.vectors_RE[at_candidate[first_C]]
    ranks, partners = [], []
    shown: list[dict[str, Any]] = []
    for start in range(0, len(asked_Q), _QUERIES_AT_ONCE):
        some_Q = asked_Q[start : start + _QUERIES_AT_ONCE]
        score_QC = (query_QE[start : start + len(some_Q)] @ candidate_CE.T).cpu()
        mine = torch.isin(partner_QC[0], some_Q)
        right_QC = torch.zeros_like(score_QC, dtype=torch.bool)
        right_QC[torch.searchsorted(some_Q, partner_QC[0, mine]), partner_QC[1, mine]] = True
        ranks.append(_best_rank(score_QC, right_QC))
        partners.append(right_QC.sum(1))
        for place in range(min(examples - len(shown), len(some_Q))):
            names = [keys[int(n)] for n in both[first_C]]
            query = keys[int(both[first_Q[some_Q[place]]])]
            shown.append(_example(query, names, score_QC[place], right_QC[place]))
    return Direction(torch.cat(ranks), torch.cat(partners), len(first_C), shown)


def chance_of_hit(right: int, candidates: int, k: int) -> float:
    """Probability that one of ``right`` items is among ``k`` drawn of ``candidates`` without return."""
    k = min(k, candidates)
    return 1 - math.comb(candidates - right, k) / math.comb(candidates, k)


def _best_rank(score_QC: Tensor, right_QC: Tensor) -> Tensor:
    """1 + the wrong candidates that do not score below the best right one; NaN is never below."""
    best_Q = score_QC.masked_fill(~right_QC, -torch.inf).amax(1)
    not_below_QC = ~(score_QC < best_Q[:, None])
    return 1 + (not_below_QC & ~right_QC).sum(1)


def _intersect(samples_a_R: Tensor, samples_b_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The samples that both have, in order, and where each stands in either."""
    sorted_a, order_a = samples_a_R.sort()
    sorted_b, order_b = samples_b_R.sort()
    in_a = torch.isin(sorted_a, sorted_b)
    return sorted_a[in_a], order_a[in_a], order_b[torch.isin(sorted_b, sorted_a)]


def _items(content_R: Tensor) -> tuple[Tensor, Tensor]:
    """Number equal contents in the order of their first appearance: (number of each row, first rows)."""
    numbers: dict[int, int] = {}
    first = []
    for place, content in enumerate(content_R.tolist()):
        if content not in numbers:
            numbers[content] = len(numbers)
            first.append(place)
    return torch.tensor([numbers[c] for c in content_R.tolist()]), torch.tensor(first)


def _example(query: str, names: list[str], score_C: Tensor, right_C: Tensor) -> dict[str, Any]:
    top = score_C.topk(min(10, len(names))).indices.tolist()
    return {
        "query": query,
        "ranked": [{"key": names[c], "score": float(score_C[c]), "right": bool(right_C[c])} for c in top],
    }


def _is_first_rank() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
