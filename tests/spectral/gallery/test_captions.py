"""Sentences of captions: each on data where it must appear, and on data where it must not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spectral.block_response import BlockResponse
from spectral.cosine_similarity import CosineSimilarity
from spectral.estimate import Estimate, estimate
from spectral.filter_response import FrequencyResponse
from spectral.gallery import captions
from spectral.learned_filters import LearnedFilters
from spectral.over_seeds import Betas, Gains, Similarities, Spectrum
from spectral.singular_values import LayerSpectra, SingularValues
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


def test_what_one_run_shows_is_not_said_of_every_run():
    assert "every run" not in captions.of_betas(Betas(np.array([[[0.1]]])))


def test_bands_are_of_what_is_known():
    one, five = known([1.0]), known([1.0], seeds=5)
    assert "one model, users only" in captions.bands({"sasrec": one}) and "seeds" not in captions.bands({"sasrec": one})
    assert "one model" not in captions.bands({"sasrec": five})
    both = captions.bands({"sasrec": five, "bsarec": one, "duorec": replace(five, seeds=3)})
    assert "means over 3 to 5 seeds" in both and "of BSARec there is one model, users only" in both
    learned = estimate(np.ones((2, 1)), np.ones((1, 2, 1)), users=0)
    assert "users" not in captions.bands({"bsarec": learned}) and "BSARec 2" in captions.bands({"bsarec": learned})
    one_learned = estimate(np.ones((1, 1)), np.ones((1, 1, 1)), users=0)
    assert captions.bands({"bsarec": one_learned}) == "Lines are of one model each."


def test_only_the_nulls_that_are_drawn_are_named():
    assert captions.null_models({"sasrec": {}}) == ""
    text = captions.null_models({"sasrec": {"shuffled": [0] * 5}, "fmlprec": {}})
    assert text == "Grey: shuffled histories (SASRec; 5 draws)."
    both = {"sasrec": {"untrained": [0] * 5, "gaussian": [0] * 20}}
    assert "initial weights (mean of 5 draws)" in captions.null_models(both, means=True)
    assert "variances (20 draws)" in captions.null_models(both, means=True)


def test_models_of_which_the_same_is_said_share_one_sentence():
    null = {"uniform": [SingularValues(np.ones(9), 80)]}
    text = captions.of_spectra(
        {"sasrec": spectrum(9, **null), "duorec": spectrum(9.1, **null), "bsarec": spectrum(3, **null)}
    )
    assert text.count("told apart from uniform attention") == 1
    assert "Each of SASRec and DuoRec cannot be told apart from uniform attention in layer 2" in text
    assert "BSARec leaves its users in fewer directions than uniform attention in layer 2." in text


@pytest.mark.parametrize(
    ("value", "said"), [(-14, "passes more"), (-18, "damps the fastest wave in attention more"), (-16, "told apart")]
)
def test_single_models_are_compared_with_their_nulls_as_runs_are(value: float, said: str):
    text = captions.of_responses({"sasrec": response([value])}, {"sasrec": {"uniform": [response([-16.1])]}})
    assert [w for w in ("passes more", "damps the fastest wave in attention more", "told apart") if w in text] == [said]
    assert f"SASRec {value:.1f} dB" in text
    assert "than" not in captions.of_responses({"sasrec": response([value])}, {})


@pytest.mark.parametrize(("rank", "said"), [(3, "fewer directions than"), (9, "told apart")])
def test_ranks_of_single_models_are_of_their_last_layers(rank: int, said: str):
    def spectra(last: int) -> LayerSpectra:
        return LayerSpectra({0: SingularValues(np.ones(5), 80), 2: SingularValues(np.ones(last), 80)})

    text = captions.of_layer_spectra({"tvrec": spectra(rank)}, {"tvrec": {"uniform": [spectra(9)]}})
    assert f"last layer: TV-Rec {rank}.0." in text
    assert [words for words in ("fewer directions than", "more directions than", "told apart") if words in text] == [
        said
    ]


@pytest.mark.parametrize(("end", "said"), [(0.8, "more alike than"), (0.1, "further apart than"), (0.42, "told apart")])
def test_similarities_of_single_models_are_those_of_both_ends(end: float, said: str):
    def similarity(last: float) -> CosineSimilarity:
        return CosineSimilarity(np.arange(3), np.array([0.2, 0.9, last]), np.array([0.3, 0.9, 0.5]), 80, 80)

    text = captions.of_layer_similarities({"sasrec": similarity(end)}, {"sasrec": {"uniform": [similarity(0.4)]}})
    assert f"SASRec 0.20 to {end:.2f}; positions to SASRec 0.30 to 0.50." in text
    assert [words for words in ("more alike than", "further apart than", "told apart") if words in text] == [said]


@pytest.mark.parametrize(
    ("fastest", "turn", "said"),
    [
        (0.5, -1, "passes a constant signal 6.0 dB better than the fastest wave and delays the slowest wave by 1.0"),
        (2.0, 2, "passes a constant signal 6.0 dB worse than the fastest wave and advances the slowest wave by 2.0"),
        (1.0, -1, "passes a constant signal and the fastest wave alike"),
    ],
)
def test_filters_are_said_to_do_what_they_do(fastest: float, turn: int, said: str):
    filters = np.array([1, 1, fastest]) * np.exp(1j * turn * np.pi / 4 * np.array([0, 1, 0]))
    assert said in captions.of_filters(LearnedFilters(filters[None, :, None], positions=8))


def decay(**changed: object) -> str:
    """The sentence on one matrix with two start vectors, of which something is changed."""
    row = {"exceptional": False, "causal": True, "fitted_slope": -0.5, "predicted_slope": -0.5, "limit": 0.0}
    row |= {"collapses_onto": 0, "collapse_weight": 1.0}
    rows = [row, row | {"exceptional": True, "fitted_slope": 0.0, "predicted_slope": 0.0, "limit": 0.7}]
    for name, (of_generic, of_exceptional) in changed.items():
        rows = [row | {name: value} for row, value in zip(rows, (of_generic, of_exceptional), strict=True)]
    return captions.of_decay(pd.DataFrame(rows))


def test_theorem_1_is_said_to_hold_only_where_it_does():
    holds = decay()
    assert "at the predicted rate for each of 1 matrices, to within 0.0%" in holds
    assert "does not fall for exceptional x, although" in holds and "first position for each of 1" in holds
    for slope in (-0.4, 0.5, float("nan")):
        assert "at the predicted rate for none of 1 matrices." in decay(fitted_slope=(slope, 0.0))
    assert "rate for each of 1" in decay(fitted_slope=(-np.inf, 0.0), predicted_slope=(-np.inf, 0.0))
    assert "It falls for exceptional x too." in decay(fitted_slope=(-0.5, -0.5))
    assert "first position for none of 1" in decay(collapses_onto=(3, 3))
    assert "first position for none of 1" in decay(collapse_weight=(0.4, 0.4))
    assert "Causal" not in decay(causal=(False, False))


@pytest.mark.parametrize(
    ("padding", "said"),
    [
        ([0.9, 0.1], "Most positions of test inputs are padding on one (90%), not on two (10%)."),
        ([0.9, 0.8], "Most positions of test inputs are padding on one (90%) and two (80%)."),
        ([0.5, 0.1], "On no dataset are most positions of test inputs padding: one (50%) and two (10%)."),
    ],
)
def test_padding_is_said_to_prevail_only_where_it_does(padding: list[float], said: str):
    assert captions.of_datasets(pd.DataFrame({"name": ["one", "two"], "padding": padding})) == said
