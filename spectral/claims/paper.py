"""The claims of the paper, each with its measure and its conditions.

Source: Shin et al., AAAI 2024; which figure or table is said with each. Spectral claims are judged on LastFM, as in the
paper's Figures 2 and 3, comparisons on each of its datasets.
"""

import numpy as np

from spectral.claims import Claim
from spectral.claims import evidence as by
from spectral.claims.evidence import CLOSE, HALF_POWER, MARGIN, MEDIAN_OF_SQUARED_NORMAL, Array

DATASETS = ("lastfm", "beauty", "toys", "sports", "yelp", "ml-1m")


def last(values: Array) -> Array:
    """Return the value of the last layer."""
    return values[..., -1]


def growth(values: Array) -> Array:
    """Return by how much a measure grows from the first block's output to the last one's."""
    return values[..., -1] - values[..., 1]


def least_damping(values: Array) -> Array:
    """Return the damping of the layer that damps least, from gains in dB."""
    return -values.max(-1)


def mean_damping(values: Array) -> Array:
    """Return the mean damping of the layers, from gains in dB."""
    return -values.mean(-1)


def further_damping(values: Array) -> Array:
    """Return how much more the last layer damps than the first, from gains in dB."""
    return values[..., 0] - values[..., -1]


def mean(values: Array) -> Array:
    """Return the mean over layers."""
    return np.asarray(values.mean(-1))


SPECTRAL = [
    Claim(
        "low-pass",
        "Self-attention is a low-pass filter in every layer (Figure 2b)",
        "damping of the highest frequency relative to DC by SASRec's attention, in the layer that damps least, dB",
        "above 0 dB",
        "below 0 dB",
        by.spectral("nyquist_gain", least_damping, "sasrec"),
    ),
    Claim(
        "low-pass-beyond-mask",
        "What makes attention a low-pass filter is learned, not only its causal mask",
        "damping of the highest frequency relative to DC by SASRec's attention, mean of layers, less that of uniform "
        "attention under the same mask, dB",
        "above that of the mask",
        "below that of the mask",
        by.beyond("nyquist_gain", mean_damping, "sasrec", by.uniform_damping, "uniform attention, dB"),
    ),
    Claim(
        "deeper-damps-more",
        "Deeper layers damp high frequencies more",
        "damping of the highest frequency by SASRec's attention, last layer less first layer, dB",
        "above 0 dB",
        "below 0 dB",
        by.spectral("nyquist_gain", further_damping, "sasrec"),
    ),
    Claim(
        "alike-with-depth",
        "The outputs of SASRec for different users grow alike with depth (Figure 3b)",
        "mean cosine similarity of two users' outputs in SASRec, last block less first block",
        "above 0",
        "below 0",
        by.spectral("between_users", growth, "sasrec"),
    ),
    Claim(
        "alike-faster-than-bsarec",
        "SASRec's outputs grow alike faster than BSARec's (Figure 3b)",
        "growth of the mean cosine similarity of two users' outputs from first to last block, SASRec less BSARec",
        "above 0",
        "below 0",
        by.spectral("between_users", growth, "sasrec", "bsarec"),
    ),
    Claim(
        "more-alike-than-bsarec",
        "SASRec's outputs end more alike than BSARec's (Figure 3b)",
        "mean cosine similarity of two users' outputs after the last block, SASRec less BSARec",
        "above 0",
        "below 0",
        by.spectral("between_users", last, "sasrec", "bsarec"),
    ),
    Claim(
        "singular-values",
        "BSARec's singular values decay more slowly than SASRec's (Figure 3a)",
        "effective rank of the outputs, BSARec less SASRec",
        "above 0",
        "below 0",
        by.spectral("effective_rank", last, "bsarec", "sasrec"),
    ),
    Claim(
        "singular-values-equal-loss",
        "BSARec's singular values decay more slowly than SASRec's with equal loss too",
        "effective rank of the outputs, BSARec less SASRec trained with the same loss (ce)",
        "above 0",
        "below 0",
        by.spectral("effective_rank", last, "bsarec", "sasrec-ce"),
    ),
    Claim(
        "keeps-high-frequencies",
        "BSARec keeps more high frequencies in its hidden states than SASRec",
        "share of energy above the lowest modes after the last block, BSARec less SASRec, dB",
        "above 0 dB",
        "below 0 dB",
        by.spectral("high_share", last, "bsarec", "sasrec"),
    ),
    Claim(
        "beta-passes",
        "BSARec's frequency branch lets high frequencies through (beta)",
        f"median of beta, mean of layers, less {HALF_POWER:.3f}, the gain that passes half the power",
        f"above {HALF_POWER:.3f}",
        f"below {HALF_POWER:.3f}",
        by.beyond("beta", mean, "bsarec", lambda positions: HALF_POWER, "half power"),
    ),
    Claim(
        "beta-is-raised",
        "Training raises beta: the model asks for high frequencies",
        "median of beta, mean of layers, less its median before training",
        "above that of initial weights",
        "below that of initial weights",
        by.beyond("beta", mean, "bsarec", lambda positions: MEDIAN_OF_SQUARED_NORMAL, "initial weights"),
    ),
]

COMPARISONS = [
    Claim(
        name,
        f"BSARec ranks better than {title} (Table 2)" if not note else f"BSARec ranks better than {title}, {note}",
        f"NDCG@20, bsarec less {system}",
        "above 0",
        "below 0",
        by.ranks_better("bsarec", system),
        DATASETS,
    )
    for name, system, title, note in (
        ("over-sasrec", "sasrec", "SASRec", ""),
        ("over-sasrec-equal-loss", "sasrec-ce", "SASRec", "with equal loss"),
        ("over-duorec", "duorec", "DuoRec", ""),
        ("over-fearec", "fearec", "FEARec", ""),
        ("over-fmlprec", "fmlprec", "FMLP-Rec", ""),
        ("over-bert4rec", "bert4rec", "BERT4Rec", ""),
        ("over-gru4rec", "gru4rec", "GRU4Rec", ""),
        ("over-caser", "caser", "Caser", ""),
    )
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
        f"{setting} matters: its published value is better than the other values are on average ({figure})",
        f"NDCG@20 with the published {setting}, less the mean with the other values of the grid",
        "above 0",
        "below 0",
        by.own_is_best("bsarec", setting),
    )
    for setting, figure in (("alpha", "Figure 5"), ("c", "Figure 6"))
]

OTHERS = [
    Claim(
        "high-frequency-users",
        "Users with high-frequency histories gain most from BSARec",
        "gain in NDCG@20 of BSARec over SASRec, of the quarter of users whose categories change most (least DC beyond "
        "that of noise), less that of the other users",
        "above 0",
        "below 0",
        by.gains_most_at_high_frequency("bsarec", "sasrec"),
    ),
    Claim(
        "cost",
        "BSARec costs about as much as SASRec",
        f"log of {CLOSE:g} less log of the ratio of seconds per epoch, on one processor",
        f"a ratio below {CLOSE:g}",
        f"a ratio above {CLOSE:g}",
        by.costs_about_as_much("bsarec", "sasrec"),
    ),
    Claim(
        "theorem-1-rate",
        "HFC / LFC of repeated attention falls to 0, at the rate of the second eigenvalue (Theorem 1)",
        f"{MARGIN:g} less the relative error of the fitted rate, random attention",
        f"an error below {MARGIN:.0%}",
        f"an error above {MARGIN:.0%}",
        by.theorem_rate,
        (),
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

CLAIMS = [*SPECTRAL, *COMPARISONS, EQUAL_HEADS, PUBLISHED, *PARTS, *OTHERS]
