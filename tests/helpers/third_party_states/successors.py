"""State dicts of TV-Rec, WEARec, SLIME4Rec and LoWARec, with drawn weights."""

from third_party_reference import State, dense, norms
from third_party_states.bsarec_repository import LAYER, OURS, Sizes, in_frame

SHORTER = Sizes(length=30)


def tvrec_state(sizes: Sizes = SHORTER, order: int = 12, filters: int = 5) -> State:
    own = {f"{LAYER}.basis": (filters, order + 1, 2), f"{LAYER}.c_t": (sizes.length + order - 1, filters)}
    return in_frame(own | norms(f"{LAYER}.LayerNorm", sizes.size), sizes, positions=False)


def wearec_state(sizes: Sizes = OURS, heads: int = 2) -> State:
    size, bins = sizes.size, sizes.bins
    own = {
        f"{LAYER}.complex_weight": (1, heads, sizes.length // 2, size // heads),
        f"{LAYER}.base_filter": (heads, bins, 1),
        f"{LAYER}.base_bias": (heads, bins, 1),
        f"{LAYER}.gate_param": (),
    }
    network = dense(f"{LAYER}.adaptive_mlp.0", size, size) | dense(f"{LAYER}.adaptive_mlp.2", heads * bins * 2, size)
    return in_frame(own | network | norms(f"{LAYER}.LayerNorm", size), sizes)


def slime4rec_state(sizes: Sizes = OURS) -> State:
    own = {f"{LAYER}.complex_weight{part}": (1, sizes.bins, sizes.size, 2) for part in ("", "_G", "_L")}
    return in_frame(own | norms(f"{LAYER}.LayerNorm", sizes.size), sizes)


def lowarec_state(sizes: Sizes = OURS, projections: int = 6) -> State:
    filters, projected, size = f"{LAYER}.filter_layer", f"{LAYER}.projected_layer", sizes.size
    own: dict = {
        f"{filters}.alpha": (),
        f"{filters}.wavelet_conv.weight": (size, 1, 3),
        f"{projected}.projector": (projections, size),
    }
    for step in ("out_attn", "in_attn"):
        for part in ("FC_Q", "FC_K", "FC_V", "out_proj"):
            own |= dense(f"{projected}.{step}.{part}", size, size)
    own |= dense(f"{projected}.MLP.0", 4 * size, size) | dense(f"{projected}.MLP.2", size, 4 * size)
    for norm in (f"{filters}.LayerNorm", f"{projected}.norm1", f"{projected}.norm2"):
        own |= norms(norm, size)
    return in_frame(own, sizes)
