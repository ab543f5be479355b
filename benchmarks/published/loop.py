"""The training loop around a model: samples handed over one at a time, and Adam."""

import random

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.published.recommenders import PublishedModel


class PrefixDataset(Dataset[dict[str, Tensor | int]]):
    """Training samples handed over one at a time, each with a freshly sampled negative item.

    inputs: the window (N,) of each sample, targets: the item that follows, users: whose it is, seen: for each user the
    items of the training part. With `same_target` a sample also brings another input with the same target.
    """

    def __init__(
        self,
        inputs: list[list[int]],
        targets: list[int],
        users: list[int],
        seen: list[set[int]],
        num_items: int,
        same_target: bool = False,
    ) -> None:
        self.inputs, self.targets, self.users = inputs, targets, users
        self.seen, self.num_items, self.same_target = seen, num_items, same_target
        self.rows_of_target: dict[int, list[int]] = {}
        for row, target in enumerate(targets):
            self.rows_of_target.setdefault(target, []).append(row)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        """Return the sample's input (N,), its target, its user and an item the user has not seen."""
        user = self.users[index]
        negative = int(torch.randint(1, self.num_items + 1, ()))
        while negative in self.seen[user]:
            negative = int(torch.randint(1, self.num_items + 1, ()))
        sample: dict[str, Tensor | int] = {
            "input_ids": torch.tensor(self.inputs[index]),
            "target": torch.tensor(self.targets[index]),
            "negative": torch.tensor(negative),
            "user": user,
        }
        if self.same_target:
            sample["same_target"] = torch.tensor(self.draw_same_target(index))
        return sample

    def draw_same_target(self, index: int) -> list[int]:
        """Return the input of a random sample with the same target, another input than the sample's if there is one."""
        own = self.inputs[index]
        candidates = [self.inputs[row] for row in self.rows_of_target[self.targets[index]]]
        chosen = random.choice(candidates)
        if any(candidate != own for candidate in candidates):
            while chosen == own:
                chosen = random.choice(candidates)
        return chosen


class PublishedLoop:
    """Steps of the published loop, one batch at a time, so that it can be timed beside another."""

    def __init__(self, model: PublishedModel, dataset: PrefixDataset, batch_size: int) -> None:
        self.model = model
        self.loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)
        self.batches = iter(self.loader)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(self) -> float:
        """Train on the next batch and return its loss."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        loss = self.model.objective(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
