"""The frequency response and the transfer map of the same attention, in one pass over the users of a command."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from spectral.command_line import Nulls, Subject, nulls_json, users_of
from spectral.filter_response.measure import AttentionPower, FrequencyResponse, attention_power
from spectral.resampling import RESAMPLES
from spectral.sums import Sums, sum_of_attention
from spectral.transfer_map import SUMS, TransferMap, TransferPower, transfer_power


@dataclass(frozen=True, eq=False)
class Passed(Sums):
    """The sums of the response and of the transfer map of the same attention."""

    response: AttentionPower
    transfer: TransferPower


@dataclass(frozen=True, eq=False)
class Measured:
    """What is measured on one kind of windows: the response, the transfer map, and the responses of null models."""

    response: FrequencyResponse
    transfer: TransferMap
    nulls: dict[str, list[FrequencyResponse]] = field(default_factory=dict)

    def records(self) -> list[dict[str, Any]]:
        """Return the summary of the response, with the four sums of the transfer map under `transfer`."""
        pairs = zip(self.response.summary(), self.transfer.summary(), strict=True)
        return [record | {"transfer": {name: sums[name] for name in SUMS}} for record, sums in pairs]


def measured_with_transfer(
    subject: Subject, length: int | None, padding: bool, c: int, nulls: Nulls
) -> dict[str, Measured]:
    """Return the measures over real positions, "real", and with `padding` those over whole windows, "padded".

    "real" is left out only if padding was asked for without a length and no window is full. Null models are measured
    over real positions. Raises DataError if no user has the length.
    """
    found = {}
    has_full = bool((subject.windows > 0).all(1).any())
    if has_full or length is not None or not padding:
        windows = subject.full_windows(length)
        kind = users_of(length, "users with full windows")
        subject.describe(len(windows), f"{kind} (of {len(subject.windows):,})")

        def response_of(other: Subject, inputs: Tensor) -> FrequencyResponse:
            return FrequencyResponse.from_captures(other.captures(inputs, hidden=False), c, length)

        found["real"] = _measure(subject, windows, c, length, nulls.of(subject, windows, response_of))
    if padding:
        windows = subject.users()
        subject.describe(len(windows), "users with their whole windows, padding included")
        found["padded"] = _measure(subject, windows, c, None, {}, padded=True)
    return found


def _measure(
    subject: Subject,
    windows: Tensor,
    c: int,
    length: int | None,
    nulls: dict[str, list[FrequencyResponse]],
    padded: bool = False,
) -> Measured:
    captures = (captured.last(length) for captured in subject.captures(windows, hidden=False))
    rng = np.random.default_rng(0)
    sums, layers = sum_of_attention(
        captures,
        lambda maps: Passed(attention_power(maps, rng.poisson(1.0, (len(maps[0]), RESAMPLES)).T), transfer_power(maps)),
        padded,
    )
    return Measured(sums.response.response(c, layers), sums.transfer.transfer_map(c, layers), nulls)


def result(subject: Subject, measured: dict[str, Measured]) -> dict[str, Any]:
    """Return the JSON object. It has the key `padding` if padded windows were measured, and `nulls` by name."""
    real, padded = measured.get("real"), measured.get("padded")
    described: dict[str, Any] = {
        "model": subject.model.name,
        "dataset": subject.dataset,
        "users": real.response.users if real else 0,
        "responses": real.records() if real else [],
    }
    described |= nulls_json(real.nulls if real else {})
    if padded is not None:
        described["padding"] = {"users": padded.response.users, "responses": padded.records()}
    return described
