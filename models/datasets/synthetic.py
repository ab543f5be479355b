"""Sequences made by a rule that is known, for tests and for teaching what a spectrum shows.

Items are divided into about sqrt(items) tastes of equal size. A user starts with a random taste. At every
step the taste is replaced by another one with probability `change`: an abrupt change, which is energy at high
frequencies. The item of the step is drawn uniformly from the taste with probability `persistence`, else from
all items. So the taste of a user is a constant signal for `change=0,persistence=1` and white noise for
`persistence=0` or `change` near 1.
"""

from dataclasses import dataclass, fields

import numpy as np

from models.datasets.sequences import MIN_ITEMS, Sequences
from models.errors import DataError

NAME = "synthetic"
MAX_INTERACTIONS = 100_000_000
PROBABILITIES = ("change", "persistence")


@dataclass(frozen=True)
class Synthetic:
    """The knobs of the generator.

    Attributes:
        users: Number of users.
        items: Size of the catalogue; item i (from 1) has taste (i - 1) % num_tastes.
        change: Probability per step in [0, 1] that the user's taste is replaced by another.
        persistence: Probability in [0, 1] that an item follows the user's taste.
        length: Mean number of items of a user; lengths are uniform from 3 to 2 * length - 3.
        seed: Seed of all draws; the same knobs give the same sequences.

    Raises:
        DataError: If a knob is outside its range.
    """

    users: int = 300
    items: int = 200
    change: float = 0.05
    persistence: float = 0.9
    length: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        least = {"users": 1, "items": 2, "length": MIN_ITEMS, "seed": 0}
        for knob, minimum in least.items():
            if getattr(self, knob) < minimum:
                raise DataError(f"{NAME}: {knob} must be at least {minimum}, got {getattr(self, knob)}")
        for knob in PROBABILITIES:
            if not 0 <= getattr(self, knob) <= 1:
                raise DataError(f"{NAME}: {knob} must be from 0 to 1, got {getattr(self, knob)}")
        if self.items > np.iinfo(np.int32).max:
            raise DataError(f"{NAME}: items must fit 32 bits, got {self.items}")
        if self.users * self.length > MAX_INTERACTIONS:
            raise DataError(f"{NAME}: users x length must be at most {MAX_INTERACTIONS:,}; lower one of them")

    @property
    def num_tastes(self) -> int:
        """Number of tastes, about the square root of the number of items and at least 2."""
        return max(2, round(self.items**0.5))

    @property
    def name(self) -> str:
        """`synthetic` followed by the knobs that are not at their default; `parse` reads it back."""
        turned = [f"{knob.name}={getattr(self, knob.name)}" for knob in fields(self) if self._turned(knob.name)]
        return f"{NAME}:{','.join(turned)}" if turned else NAME

    def _turned(self, knob: str) -> bool:
        return getattr(self, knob) != getattr(type(self), knob)


def is_synthetic(name: str) -> bool:
    """Say whether a dataset name asks for generated sequences."""
    return name == NAME or name.startswith(f"{NAME}:")


def parse(name: str) -> Synthetic:
    """Read the knobs from a name like `synthetic` or `synthetic:change=0.2,seed=3`.

    Raises:
        DataError: If a knob is unknown, given twice, malformed or out of range; names it and what is allowed.
    """
    kinds = {knob.name: float if knob.name in PROBABILITIES else int for knob in fields(Synthetic)}
    allowed = f"allowed are {', '.join(kinds)}, as in {NAME}:change=0.2,seed=3"
    knobs: dict[str, int | float] = {}
    _, colon, text = name.partition(":")
    for setting in text.split(",") if colon else []:
        knob, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise DataError(f"{NAME}: {setting!r} is not knob=value; {allowed}")
        if knob not in kinds:
            raise DataError(f"{NAME}: unknown knob {knob!r}; {allowed}")
        if knob in knobs:
            raise DataError(f"{NAME}: {knob} is given twice; {allowed}")
        try:
            knobs[knob] = kinds[knob](value)
        except ValueError:
            kind = "an integer" if kinds[knob] is int else "a number"
            raise DataError(f"{NAME}: {knob} must be {kind}, got {value!r}; {allowed}") from None
    return Synthetic(**knobs)  # type: ignore[arg-type]


def generate(knobs: Synthetic) -> Sequences:
    """Draw the sequences; the same knobs give the same sequences."""
    random = np.random.default_rng(knobs.seed)
    lengths = random.integers(MIN_ITEMS, 2 * knobs.length - MIN_ITEMS, size=knobs.users, endpoint=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = int(offsets[-1])

    # Tastes add up modulo their number, so a change is a jump by 1 or more and a new user a jump to anywhere.
    changes = random.random(steps) < knobs.change
    jump = np.where(changes, random.integers(1, knobs.num_tastes, size=steps), 0)
    jump[offsets[:-1]] = random.integers(0, knobs.num_tastes, size=knobs.users)
    taste = np.cumsum(jump) % knobs.num_tastes

    items_of_taste = (knobs.items - 1 - taste) // knobs.num_tastes + 1
    by_taste = taste + knobs.num_tastes * random.integers(0, items_of_taste)
    anything = random.integers(0, knobs.items, size=steps)
    items = np.where(random.random(steps) < knobs.persistence, by_taste, anything) + 1
    return Sequences(
        name=knobs.name,
        users=np.arange(1, knobs.users + 1),
        items=items.astype(np.int32),
        offsets=offsets,
        source=knobs.name,
    )
