"""Sentences of captions: each on data where it must appear, and on data where it must not."""

from dataclasses import replace

import numpy as np
import pytest

from spectral.block_response import BlockResponse
from spectral.cosine_similarity import CosineSimilarity
from spectral.estimate import Estimate, estimate
from spectral.filter_response import FrequencyResponse
from spectral.gallery import captions
from spectral.over_seeds import Betas, Gains, Similarities, Spectrum
from spectral.singular_values import SingularValues
from spectral.transfer_map import TransferMap


def known(value: object, half: float = 0.1, seeds: int = 1) -> Estimate:
    """An estimate with an interval of this reach on either side."""
    mean = np.asarray(value, float)
    return Estimate(mean, *(mean - half, mean + half) * 3, seeds=seeds, users=80)


def response(left: list[float]) -> FrequencyResponse:
    gain = np.stack([[1, 10 ** (db / 40), 10 ** (db / 20)] for db in left])[:, None]
    return FrequencyResponse(gain=gain, self_gain=gain**2, positions=4, users=9, layers=tuple(range(1, len(left) + 1)))


def gains(
    left: list[float], uniform: float | None = None, untrained: tuple[float, ...] = (), half: float = 0.1
) -> Gains:
    """Gains of some layers at the fastest wave, and those of null models in every layer."""
    found = response(left)
    nulls = {"untrained": [response([db] * len(left)) for db in untrained]} if untrained else {}
    nulls |= {} if uniform is None else {"uniform": [response([uniform] * len(left))]}
    return Gains(found, known(found.gain_db[:, 0], half), known(found.self_gain_db[:, 0], half), nulls)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ([-10, -12], "Attention is a low-pass filter in every layer"),
        ([-10, -2], "Attention damps the fastest wave by more than 3 dB except of SASRec in layer 2."),
        ([-2, 1], "In no layer is it certain that attention damps the fastest wave by more than 3 dB."),
        ([-3.04, -3.04], "In no layer is it certain"),  # the interval reaches above
    ],
)
def test_low_pass_is_said_where_the_whole_interval_is_below_3_db(left: list[float], said: str):
    text = captions.of_gains({"sasrec": gains(left)})
    assert said in text
    assert ("low-pass" in text) == (said.startswith("Attention is a low-pass"))
    assert f"SASRec {left[0]:.1f}, {left[1]:.1f} dB" in text


@pytest.mark.parametrize(
    ("value", "half", "said"),
    [
        (-14.0, 0.1, "passes more of the fastest wave through attention than uniform attention in layer 1"),
        (-18.0, 0.1, "damps the fastest wave in attention more than uniform attention in layer 1"),
        (-16.0, 0.1, "cannot be told apart from uniform attention in layer 1 by what leaves"),
        (-14.0, 2.0, "cannot be told apart from uniform attention"),  # its own interval holds the null
    ],
)
def test_what_is_beyond_uniform_attention_is_said_of_gains(value: float, half: float, said: str):
    text = captions.of_gains({"sasrec": gains([value], uniform=-16.1, half=half)})
    assert said in text
    for other in ("passes more", "damps the fastest wave in attention more", "told apart"):
        assert (other in text) == (other in said)


def test_one_draw_of_initial_weights_decides_nothing_and_several_do():
    assert "initial weights" not in captions.of_gains({"sasrec": gains([-9], untrained=(-16.1,))})
    text = captions.of_gains({"sasrec": gains([-9], untrained=(-16.1, -16.0, -16.2))})
    assert "passes more of the fastest wave through attention than its initial weights" in text


def transfer_map(falls: float, stays: float) -> TransferMap:
    power = np.diag([1.0, 1.0, stays])
    power[0, 2] = falls
    return TransferMap(power=power[None, None], positions=4, users=9, layers=(1,))


def test_where_high_modes_go_is_said_by_what_is_more():
    more, less = transfer_map(0.3, 0.1), transfer_map(0.1, 0.3)
    assert "more leaves in low modes than in high ones" in captions.of_transfer({"sasrec": more})
    assert "less leaves in low modes than in high ones" in captions.of_transfer({"sasrec": less})
    both = captions.of_transfer({"sasrec": more, "bsarec": less})
    assert "every layer" not in both and "low ones leaves SASRec 30%, BSARec 10%" in both


def spectrum(rank: float, half: float = 0.5, **nulls: list[SingularValues]) -> Spectrum:
    return Spectrum(2, SingularValues(np.ones(9), 80), known(np.ones(9)), known(rank, half), nulls)


def test_the_reference_stands_where_the_intervals_say():
    others = {"sasrec": spectrum(3), "duorec": spectrum(5.4), "fmlprec": spectrum(8)}
    text = captions.of_spectra({"bsarec": spectrum(5), **others})
    assert (
        "its effective rank is above that of SASRec, and not told apart from that of DuoRec, and below that of FMLP-Rec"
        in text
    )
    assert "In the paper" not in captions.of_spectra(others)
    assert "above" not in captions.of_spectra({"bsarec": spectrum(2), **others})


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        (3.0, "leaves its users in fewer directions than"),
        (14.0, "spreads its users over more directions than"),
        (9.2, ""),
    ],
)
def test_ranks_are_compared_with_uniform_attention(rank: float, said: str):
    text = captions.of_spectra({"sasrec": spectrum(rank, uniform=[SingularValues(np.ones(9), 80)])})
    assert (said or "cannot be told apart from") in text and ("told apart" in text) == (not said)
    gaussian = captions.of_spectra({"sasrec": spectrum(rank, gaussian=[SingularValues(np.ones(9), 80)] * 9)})
    assert "Gaussian" not in gaussian and "than" not in gaussian


def similarities(ends: tuple[float, float], **nulls: list[CosineSimilarity]) -> Similarities:
    values = np.linspace(*ends, 3)
    found = CosineSimilarity(np.arange(3), values, values, 80, 80)
    return Similarities(found, known(values, 0.02), known(values, 0.02), nulls)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.1, 0.6), "become more alike in"),
        ((0.6, 0.1), "become less alike in"),
        ((0.3, 0.31), "show no certain change in"),
    ],
)
def test_users_grow_alike_only_where_their_intervals_part(ends: tuple[float, float], said: str):
    text = captions.of_similarities({"sasrec": similarities(ends)})
    assert f"layer users {said}" in text and f"layer positions of a sequence {said}" in text
    others = {"become more alike in", "become less alike in", "show no certain change in"} - {said}
    assert not any(other in text for other in others)


def test_smoothing_beyond_a_null_is_said_only_where_it_is():
    null = [CosineSimilarity(np.arange(3), np.full(3, 0.4), np.full(3, 0.4), 80, 80)]
    for end, said in (
        (0.6, "makes users more alike than"),
        (0.2, "keeps users further apart than"),
        (0.42, "told apart"),
    ):
        text = captions.of_similarities({"sasrec": similarities((0.4, end), uniform=null)})
        for other in ("makes users more alike than", "keeps users further apart than", "told apart"):
            assert (other in text) == (other == said)


def test_whole_layers_are_compared_with_their_nulls():
    def block(db: float) -> BlockResponse:
        gain = np.array([[1, 1, 10 ** (db / 20)]])
        return BlockResponse(gain=gain, last_gain=gain, positions=4, users=9, layers=(1,), probes=8)

    for db, said in ((0.0, "passes more"), (-6.0, "damps the fastest wave in whole layers more"), (-2.9, "told apart")):
        text = captions.of_blocks({"sasrec": block(db)}, {"sasrec": {"uniform": [block(-3)]}})
        assert [
            w for w in ("passes more", "damps the fastest wave in whole layers more", "told apart") if w in text
        ] == [said]
    assert "than" not in captions.of_blocks({"sasrec": block(-3)}, {})


def test_betas_are_compared_with_those_that_training_begins_with():
    for low, high, said in ((0.1, 0.2, "below"), (0.8, 0.9, "above"), (0.1, 0.9, "around")):
        text = captions.of_betas(Betas(np.array([[[low]], [[high]]])))
        assert f"{said} the 0.45 of initial weights" in text and ("in every run" in text) == (said != "around")


def test_bands_are_of_what_is_known():
    one, five = known([1.0]), known([1.0], seeds=5)
    assert "one model, users only" in captions.bands({"sasrec": one}) and "seeds" not in captions.bands({"sasrec": one})
    assert "one model" not in captions.bands({"sasrec": five})
    both = captions.bands({"sasrec": five, "bsarec": one, "duorec": replace(five, seeds=3)})
    assert "means over 3 to 5 seeds" in both and "of BSARec there is one model, users only" in both
    learned = estimate(np.ones((2, 1)), np.ones((1, 2, 1)), users=0)
    assert "users" not in captions.bands({"bsarec": learned})


def test_only_the_nulls_that_are_drawn_are_named():
    assert captions.null_models({"sasrec": {}}) == ""
    text = captions.null_models({"sasrec": {"shuffled": [0] * 5}, "fmlprec": {}})
    assert text == "Grey: shuffled histories (SASRec; 5 draws)."
    both = {"sasrec": {"untrained": [0] * 5, "gaussian": [0] * 20}}
    assert "initial weights (mean of 5 draws)" in captions.null_models(both, means=True)
    assert "variances (20 draws)" in captions.null_models(both, means=True)
