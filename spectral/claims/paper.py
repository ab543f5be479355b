"""The claims of the paper, and three about remedies, each with its measure and its conditions.

Source: Shin et al., AAAI 2024; which figure or table is said with each. Spectral claims are judged on LastFM, as in the
paper's Figures 2 and 3, comparisons on each of its datasets. A claim that compares with SASRec is judged with the
published losses (BSARec's softmax, SASRec's one negative), and again with equal loss. Claims about depth are judged on
two layers, as published, and on the 16 of Figure 3.

Three claims stand behind the paper rather than in it: that oversmoothing costs accuracy, that BSARec gains by smoothing
less, and (against it) that a remedy of other fields does as well. They are judged on SASRec with BSARec's loss, with
and without a remedy (models.layers.remedies), two layers, on LastFM and MovieLens-100K.
"""

import numpy as np

from spectral.claims import Claim
from spectral.claims import evidence as by
from spectral.claims.evidence import CLOSE, HALF_POWER, MARGIN, MEDIAN_OF_SQUARED_NORMAL, Array, last

DATASETS = ("lastfm", "beauty", "toys", "sports", "yelp", "ml-1m")
REMEDIED = ("lastfm", "ml-100k")  # where remedies are compared
REMEDIES = tuple(
    f"sasrec-ce-{name}" for name in ("attnscale", "featscale", "contranorm", "gfsa", "residual-scale", "pre-norm")
)


def growth(values: Array) -> Array:
    """Return by how much a measure grows from the embeddings (layer 0) to the last block's output."""
    return values[..., -1] - values[..., 0]


def least_damping(values: Array) -> Array:
    """Return the damping of the layer that damps least, from gains in dB."""
    return -values.max(-1)


def damping_per_layer(values: Array) -> Array:
    """Return the slope of the damping over the layers, by least squares, from gains in dB.

    >>> damping_per_layer(np.array([-10.0, -12.0, -14.0]))
    array(2.)
    """
    layers = np.arange(values.shape[-1]) - (values.shape[-1] - 1) / 2
    return np.asarray(-values @ layers / (layers @ layers))


def mean(values: Array) -> Array:
    """Return the mean over layers."""
    return np.asarray(values.mean(-1))


ATTENTION = [
    Claim(
        name,
        f"Self-attention is a low-pass filter in every layer, beyond its causal mask ({what}; Figure 2b)",
        f"damping of the highest frequency relative to DC by SASRec's attention ({what}), in the layer that damps "
        "least, less that of uniform attention under the same mask, dB",
        "every layer damps more than the mask alone does",
        "a layer damps less than the mask alone does",
        by.beyond(measure, least_damping, "sasrec", null, "uniform attention, dB"),
    )
    for name, what, measure, null in (
        ("low-pass-leaves", "energy that leaves at any frequency", "nyquist_gain", by.uniform_damping),
        (
            "low-pass-stays",
            "energy that stays at its frequency",
            "nyquist_self_gain",
            lambda positions: by.uniform_damping(positions, stays=True),
        ),
    )
]
DEPTH = [
    claim
    for ending, layers in (("", "2 layers"), ("-16", "16 layers"))
    for claim in (
        Claim(
            f"deeper-damps-more{ending}",
            f"Deeper layers damp high frequencies more ({layers})",
            "slope over layers of the damping of the highest frequency by SASRec's attention (energy that leaves at "
            "any frequency), dB per layer",
            "above 0 dB, the slope of uniform attention",
            "below 0 dB",
            by.spectral("nyquist_gain", damping_per_layer, f"sasrec{ending}", null="uniform attention, dB: 0"),
        ),
        Claim(
            f"alike-with-depth{ending}",
            f"The outputs of SASRec for different users grow alike with depth (Figure 3b, {layers})",
            "growth of the mean cosine similarity of two users from embeddings to last block, less the growth with "
            "initial weights",
            "above that with initial weights",
            "below that with initial weights",
            by.grows_beyond_initial_weights(f"sasrec{ending}", growth),
        ),
    )
]
AGAINST_SASREC = [
    claim
    for ending, other, note in (
        ("", "sasrec", "2 layers, losses as published"),
        ("-equal-loss", "sasrec-ce", "2 layers, equal loss"),
        ("-16", "sasrec-16", "16 layers, losses as published"),
        ("-16-equal-loss", "sasrec-ce-16", "16 layers, equal loss"),
    )
    for claim in (
        Claim(
            f"alike-faster-than-bsarec{ending}",
            f"SASRec's outputs grow alike faster than BSARec's (Figure 3b, {note})",
            f"growth of the mean cosine similarity of two users from embeddings to last block, {other} less bsarec",
            "above 0",
            "below 0",
            by.spectral("between_users", growth, other, f"bsarec{'-16' * ('16' in other)}"),
        ),
        Claim(
            f"singular-values{ending}",
            f"BSARec's singular values decay more slowly than SASRec's (Figure 3a, {note})",
            f"effective rank of the outputs of all users, bsarec less {other}",
            "above 0",
            "below 0",
            by.spectral("effective_rank", last, f"bsarec{'-16' * ('16' in other)}", other),
        ),
        Claim(
            f"keeps-high-frequencies{ending}",
            f"BSARec keeps more high frequencies in its outputs than SASRec ({note})",
            f"share of energy above the 5 lowest modes after the last block, bsarec less {other}, dB",
            "above 0 dB",
            "below 0 dB",
            by.spectral("high_share", last, f"bsarec{'-16' * ('16' in other)}", other),
        ),
    )
]
BETA = [
    Claim(
        "beta-passes",
        "BSARec's frequency branch lets high frequencies through, in most dimensions (beta)",
        f"median of beta, mean of layers, less {HALF_POWER:.3f}, the gain that passes half the power",
        f"above {HALF_POWER:.3f}",
        f"below {HALF_POWER:.3f}",
        by.beyond("beta", mean, "bsarec", lambda positions: HALF_POWER, "half power"),
    ),
    Claim(
        "beta-is-raised",
        "Training raises beta: the model asks for high frequencies",
        "median of beta, mean of layers, less its median with initial weights",
        "above that with initial weights",
        "below that with initial weights",
        by.beyond("beta", mean, "bsarec", lambda positions: MEDIAN_OF_SQUARED_NORMAL, "initial weights"),
    ),
]

COMPARISONS = [
    Claim(
        f"over-{system}",
        f"BSARec ranks better than {title} (Table 2)",
        f"NDCG@20, bsarec less {system}, losses as published",
        "above 0",
        "below 0",
        by.ranks_better("bsarec", system),
        DATASETS,
        by.elsewhere("bsarec", system),
    )
    for system, title in (
        ("sasrec", "SASRec"),
        ("duorec", "DuoRec"),
        ("fearec", "FEARec"),
        ("fmlprec", "FMLP-Rec"),
        ("bert4rec", "BERT4Rec"),
        ("gru4rec", "GRU4Rec"),
        ("caser", "Caser"),
    )
]
EQUAL_LOSS = [
    Claim(
        f"over-{system}-equal-loss",
        f"BSARec ranks better than {title}, with equal loss",
        f"NDCG@20, bsarec less {system}-ce",
        "above 0",
        "below 0",
        by.ranks_better("bsarec", f"{system}-ce"),
        DATASETS if system == "sasrec" else ("lastfm",),
    )
    for system, title in (("sasrec", "SASRec"), ("fmlprec", "FMLP-Rec"))
]
PUBLISHED = Claim(
    "published-number",
    "BSARec reaches its published number (Table 2)",
    f"its metric less the published one less {MARGIN:.0%}",
    f"above {1 - MARGIN:.0%} of it",
    f"below {1 - MARGIN:.0%} of it",
    by.reaches_published("bsarec"),
    DATASETS,
)
# On LastFM BSARec has one head, and SASRec two.
EQUAL_HEADS = Claim(
    "over-sasrec-equal-loss-and-heads",
    "BSARec ranks better than SASRec, with equal loss and heads",
    "NDCG@20, bsarec less sasrec-ce-h1",
    "above 0",
    "below 0",
    by.ranks_better("bsarec", "sasrec-ce-h1"),
)

PARTS = [
    Claim(
        name,
        text,
        f"NDCG@20, bsarec less {system}",
        "above 0",
        "below 0",
        by.ranks_better("bsarec", system),
    )
    for name, text, system in (
        ("needs-frequency-branch", "BSARec needs its frequency branch (ablation)", "bsarec-attention"),
        ("needs-attention", "BSARec needs its attention (ablation)", "bsarec-frequency"),
        ("needs-vector-beta", "BSARec needs one beta for each dimension (ablation)", "bsarec-scalar"),
    )
] + [
    Claim(
        f"{setting}-matters",
        f"{setting} matters: its published value ranks more than {MARGIN:.0%} better than other values ({figure})",
        f"NDCG@20 with the published {setting}, less {1 + MARGIN:g} times the mean with the other values of the grid",
        f"more than {MARGIN:.0%} better",
        f"less than {MARGIN:.0%} better, or worse",
        by.own_is_best("bsarec", setting),
    )
    for setting, figure in (("alpha", "Figure 5"), ("c", "Figure 6"))
]

USERS = [
    Claim(
        f"high-frequency-users{ending}",
        f"Users with high-frequency histories gain most from BSARec ({note})",
        f"gain in NDCG@20 of bsarec over {other}, of the quarter of users whose categories change most (least DC "
        "beyond that of noise), less that of the other users",
        "above 0",
        "below 0",
        by.gains_most_at_high_frequency("bsarec", other),
    )
    for ending, other, note in (
        ("", "sasrec", "over SASRec, losses as published"),
        ("-equal-loss", "sasrec-ce", "over SASRec with equal loss"),
    )
]
COST = [
    Claim(
        f"cost{ending}",
        f"An epoch of BSARec costs at most a quarter more than one of SASRec ({note})",
        f"{CLOSE:g} less the ratio of seconds per epoch, bsarec by {other}, on one processor",
        f"a ratio below {CLOSE:g}",
        f"a ratio above {CLOSE:g}",
        by.costs_about_as_much("bsarec", other),
        DATASETS,
    )
    for ending, other, note in (("", "sasrec", "losses as published"), ("-equal-loss", "sasrec-ce", "equal loss"))
]
THEOREM = [
    *(
        Claim(
            name,
            f"HFC / LFC of repeated {what} falls to 0, at the rate of the second eigenvalue (Theorem 1)",
            f"{MARGIN:g} less the relative error of the fitted rate, random {what}, random x",
            f"an error below {MARGIN:.0%}",
            f"an error above {MARGIN:.0%}",
            by.theorem_rate(causal),
            (),
        )
        for name, what, causal in (
            ("theorem-1-rate", "attention", False),
            ("theorem-1-rate-causal", "causal attention", True),
        )
    ),
    Claim(
        "theorem-1-every-x",
        "HFC / LFC of repeated attention falls to 0 for every x (Theorem 1)",
        f"{by.VANISHED:g} less log10 of HFC / LFC after hundreds of steps from an x with pi^T x = 0, random attention",
        f"a ratio below 1e{by.VANISHED:g}",
        f"a ratio above 1e{by.VANISHED:g}",
        by.theorem_for_all,
        (),
    ),
]

SMOOTHING = [
    claim
    for measure, what, less in (
        ("between_users", "mean cosine similarity of two users", "at most as high as"),
        ("within_sequence", "mean cosine similarity of two positions of a user", "at most as high as"),
        ("effective_rank", "effective rank of the outputs of all users", "at least as high as"),
        ("high_share", "share of energy above the 5 lowest modes", "at least as high as"),
    )
    for claim in (
        Claim(
            f"oversmoothing-costs-accuracy-{measure}",
            f"Oversmoothing costs accuracy: systems that smooth less rank better (by {measure})",
            f"rank correlation over runs of NDCG@20 with the {what} after the last block, positive if less smoothing "
            "goes with better ranking",
            "above 0",
            "below 0",
            by.goes_with_better_ranking(
                measure, ["sasrec-ce-watched", *REMEDIES, "bsarec-watched", "bsarec-wavelet", "bsarec-residual"]
            ),
            REMEDIED,
        ),
        Claim(
            f"gain-is-less-smoothing-{measure}",
            f"BSARec's gain over SASRec comes from less smoothing (by {measure})",
            f"mean NDCG@20 of the remedies on SASRec whose {what} after the last block is {less} BSARec's, less the "
            "mean of BSARec and SASRec, equal loss",
            "these remedies have more than half of BSARec's gain",
            "these remedies have less than half of it",
            by.less_smoothing_explains(measure, REMEDIES, "sasrec-ce-watched", "bsarec-watched"),
            REMEDIED,
        ),
    )
]
REMEDY = Claim(
    "plain-remedy-does-as-well",
    "A remedy of other fields on SASRec does as well as BSARec",
    f"NDCG@20 of the remedy that is best on the validation split, less {1 - MARGIN:g} times that of bsarec, equal loss",
    f"above {1 - MARGIN:.0%} of it",
    f"below {1 - MARGIN:.0%} of it",
    by.best_does_as_well(REMEDIES, "bsarec-watched"),
    REMEDIED,
)

CLAIMS = [
    *ATTENTION,
    *DEPTH,
    *AGAINST_SASREC,
    *BETA,
    *COMPARISONS,
    *EQUAL_LOSS,
    EQUAL_HEADS,
    PUBLISHED,
    *PARTS,
    *USERS,
    *COST,
    *SMOOTHING,
    REMEDY,
    *THEOREM,
]
