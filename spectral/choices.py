"""What options take, and what they are without being given, for the help of commands, which imports no torch."""

FORMATS = ("png", "pdf", "csv")
BATCH_SIZE = 256
NULLS = ("uniform", "untrained", "shuffled")
DRAWS = 5  # of nulls that are random; with fewer, the interval of one more draw is very wide
CONVENTIONS = ("pairs", "published")  # of the mean over pairs of users
RESIDUAL = 0.5  # the weight of the residual connection
PROBES = 8  # random outputs that are backpropagated to the input, for each user and layer
K = 10  # the length of lists of recommended items
BY = ("length", "popularity")  # what users are grouped by
GROUPS = 3
SHARES = ("dc_share", "low_share", "dc_excess", "low_excess")
USER_MEASURES = (*SHARES, *(f"category_{name}" for name in SHARES), "window_dc_share", "window_low_share")
USER_METRICS = (*(f"{name}@{k}" for k in (5, 10, 20) for name in ("HR", "NDCG")), "reciprocal_rank")
COMPARED = (
    *("nyquist_gain", "nyquist_self_gain", "high_share", "effective_rank", "stable_rank"),
    *("between_users", "within_sequence", "beta"),
)
