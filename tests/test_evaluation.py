"""Full ranking against torchmetrics, and the published rules about seen items, ties and the padding item."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg

from models.datasets import load
from models.evaluation import CUTOFFS, RankingMetrics, evaluate, ranks
from models.registry import build, configure


def test_metrics_are_those_of_torchmetrics():
    scores = torch.rand(40, 101, generator=torch.Generator().manual_seed(0))
    target = torch.randint(1, 101, (40,), generator=torch.Generator().manual_seed(1))
    relevant = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, target[:, None], True)
    metrics = RankingMetrics()
    for rows in torch.arange(40).split(17):
        metrics.update(ranks(scores[rows], target[rows]))
    result = metrics.compute()
    for k in CUTOFFS:
        pairs = list(zip(scores, relevant, strict=True))
        hits = [retrieval_hit_rate(s, r, top_k=k) for s, r in pairs]
        gains = [retrieval_normalized_dcg(s, r, top_k=k) for s, r in pairs]
        assert result[f"HR@{k}"] == pytest.approx(float(torch.stack(hits).mean()), abs=1e-6)
        assert result[f"NDCG@{k}"] == pytest.approx(float(torch.stack(gains).mean()), abs=1e-6)


def test_ties_count_against_the_target():
    assert ranks(torch.zeros(1, 8), torch.tensor([3])).tolist() == [7]
    assert ranks(torch.tensor([[0.0, 2.0, 5.0, 2.0]]), torch.tensor([1])).tolist() == [2]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_is_the_plain_loop_over_users(split):
    sequences = load("synthetic:users=300,items=40")
    model = build(configure("bsarec", 40, max_len=8))
    model.initialise(0)
    held_out = {"test": 1, "valid": 2}[split]
    hits = {k: [] for k in CUTOFFS}
    for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        *seen, target = sequences.items[start : stop - held_out + 1].tolist()
        scores = model.eval()(torch.tensor([seen]))[0]
        scores[torch.tensor(seen)] = 0  # not minus infinity: an oddity of the published code that is kept
        rank = int((scores > scores[target]).sum() + (scores == scores[target]).sum()) - 1
        for k in CUTOFFS:
            hits[k].append(rank < k)
    model.train()
    result = evaluate(model, sequences, split)
    assert model.training
    for k in CUTOFFS:
        assert result[f"HR@{k}"] == pytest.approx(np.mean(hits[k]))


def test_a_model_that_knows_the_answer_gets_everything_right():
    sequences = load("synthetic:users=50,items=30")
    windows = sequences.windows("test", 6)

    class Oracle(torch.nn.Module):
        config = configure("sasrec", 30, max_len=6)
        items = torch.nn.Embedding(31, 1)
        asked = 0

        def forward(self, inputs):
            rows = slice(self.asked, self.asked + len(inputs))
            self.asked += len(inputs)
            return torch.nn.functional.one_hot(torch.from_numpy(windows.targets[rows]), 31).float()

    result = evaluate(Oracle(), sequences, "test")
    new = np.array(
        [
            t not in set(sequences.items[a : b - 1])
            for t, a, b in zip(windows.targets, sequences.offsets[:-1], sequences.offsets[1:], strict=True)
        ]
    )
    assert result["HR@5"] == result["NDCG@20"] == pytest.approx(new.mean())  # a repeated item was set to 0
