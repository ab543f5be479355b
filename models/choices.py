"""What options take, and what they are without being given, for the help of commands, which imports no torch."""

MODELS = (
    *("sasrec", "bsarec", "fmlprec", "duorec", "fearec", "bert4rec", "gru4rec", "caser"),
    *("tvrec", "wearec", "slime4rec", "lowarec"),
)
LOSSES = ("ce", "bce", "bpr", "sampled_softmax")
SPLITS = ("test", "valid", "train")
PADDINGS = ("zero", "cyclic", "reflect", "symmetric")
BETAS = ("vector", "scalar")
PROTOCOLS = ("leave-one-out", "temporal")
SEEN_SCORES = ("0", "inf")
TESTS = ("permutation", "wilcoxon")
METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR")
PRINTED = ("HR@10", "NDCG@10", "HR@20", "NDCG@20")
MONITOR = "NDCG@20"  # on the validation split; decides when to stop and which epoch to keep
