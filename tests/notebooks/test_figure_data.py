"""The table beside each figure, as its notebook wrote it, against plain numpy on what the same checkpoint holds.

Figures 5 and 8 are trained for and compared in test_workflow.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from repository import ROOT
from simulated_results import result
from simulated_sensitivity import store

from models.checkpoint import load, sequences_of
from models.recommender import Trace

N, C, LAYERS = 12, 3, 2  # positions, low modes and layers of the smoke profile
WAVES = np.exp(-2j * np.pi * np.outer(np.arange(N), np.arange(N)) / N) / np.sqrt(N)  # the unitary DFT
pytestmark = pytest.mark.timeout(600)  # the workflow runs first, where no other test has made it run


@pytest.fixture(scope="module")
def figures(as_made: Path) -> Path:
    return as_made / "figures/synthetic"


@pytest.fixture(scope="module")
def runs(as_made: Path) -> "Runs":
    return Runs(as_made / "runs/smoke/synthetic")


class Runs:
    """The checkpoints, and what their models do to the users' test inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = cache(lambda name: load(folder / f"{name}-seed42.pt"))
        self.inputs = sequences_of(self.model("sasrec")).windows("test", N).inputs  # (P, N)
        self.full = self.inputs[(self.inputs > 0).all(1)]
        self.answers = cache(self._answers)

    def weights(self, name: str) -> dict[str, np.ndarray]:
        state = torch.load(self.folder / f"{name}-seed42.pt", weights_only=True)["state_dict"]
        return {key: tensor.double().numpy() for key, tensor in state.items()}

    def trace(self, name: str, inputs: np.ndarray) -> Trace:
        with torch.no_grad():
            return self.model(name).trace(torch.from_numpy(inputs))

    def attention(self, name: str, inputs: np.ndarray) -> list[np.ndarray]:
        """(P, H, N, N) for each layer."""
        return [weights.double().numpy() for weights in self.trace(name, inputs).attention]

    def hidden(self, name: str) -> list[np.ndarray]:
        """(P, N, D) for each layer, the embedding output first."""
        return [states.double().numpy() for states in self.trace(name, self.inputs).hidden]

    def _answers(self, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """How each layer answers to waves at the hidden states of 128 users, in float64."""
        network = load(self.folder / f"{name}-seed42.pt").double()
        inputs = torch.from_numpy(self.full[:128])
        with torch.no_grad():
            hidden, layers = network.trace(inputs).hidden, network.layer_functions(inputs)
            return [answer_to_waves(layer, x) for layer, x in zip(layers, hidden, strict=False)]


def each(table: pd.DataFrame, *columns: str) -> "pd.api.typing.DataFrameGroupBy":
    return table.groupby(list(columns), sort=False)


def test_figure_1_is_the_most_and_the_least_regular_user(figures: Path, runs: Runs):
    table = pd.read_csv(figures / "fig1.csv")
    spectra = np.abs(np.fft.fft(runs.weights("sasrec")["items.weight"][runs.full], axis=1)) ** 2
    shares = spectra[:, [0, 1, -1]].sum((1, 2)) / spectra.sum((1, 2))  # 3 of N modes are low
    assert table.low_share.drop_duplicates().tolist() == pytest.approx([shares.max(), shares.min()])
    most = table[table.user == table.user[0]]
    assert most[most.part == "signal"].item.tolist() == runs.full[shares.argmax()].tolist()
    energy = spectra[shares.argmax()].sum(1)
    folded = [energy[0], *(energy[1:6] + energy[:6:-1]), energy[6]]
    assert most[most.part == "energy"].value.to_numpy() == pytest.approx(np.array(folded) / energy.sum())


def test_figure_2a_is_eigenvectors_of_the_ring(figures: Path):
    waves = pd.read_csv(figures / "fig2a.csv").drop(columns="position")
    ring = 2 * np.eye(16) - np.roll(np.eye(16), 1, axis=0) - np.roll(np.eye(16), -1, axis=0)
    for name, wave in waves.items():
        eigenvalue = 2 - 2 * np.cos(2 * np.pi * int(name.removeprefix("k=")) / 16)
        np.testing.assert_allclose(ring @ wave, eigenvalue * wave, atol=1e-12)
        assert wave[0] == 1


@pytest.mark.parametrize("name", ["fig2b", "fig2d"])
def test_figures_2b_and_2d_are_what_attention_leaves_of_each_wave(name: str, figures: Path, runs: Runs):
    table = pd.read_csv(figures / f"{name}.csv")
    inputs = runs.full if name == "fig2b" else runs.inputs
    assert set(table.model) == {"sasrec", "bsarec"} and set(table.users) == {len(inputs)}
    for (model, layer), rows in each(table, "model", "layer"):
        matrices = runs.attention(model, inputs)[layer - 1][:, 0]  # of the only head
        filters = WAVES @ matrices @ WAVES.conj().T  # (P, N, N)
        gain = np.sqrt((np.abs(filters) ** 2).sum(1).mean(0))[: N // 2 + 1]
        kept = np.sqrt((np.abs(np.diagonal(filters, axis1=1, axis2=2)) ** 2).mean(0))[: N // 2 + 1]
        assert set(rows.seeds.dropna()) == {1}
        mean = rows[rows["head"] == "mean"]
        assert (mean.low <= mean.gain_db + 1e-6).all() and (mean.gain_db <= mean.high + 1e-6).all()
        for _, head in each(rows, "head"):
            np.testing.assert_allclose(head.gain, gain, rtol=1e-5)
            np.testing.assert_allclose(head.self_gain, kept, rtol=1e-5)
            np.testing.assert_allclose(head.gain_db, 20 * np.log10(gain), atol=1e-4)
            np.testing.assert_allclose(head.angular_frequency, 2 * np.pi * head.frequency / N)


def test_figure_2b_has_what_uniform_attention_under_the_same_mask_leaves(figures: Path):
    table = pd.read_csv(figures / "fig2b.csv")
    uniform = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
    filters = WAVES @ uniform @ WAVES.conj().T
    gain, kept = np.linalg.norm(filters, axis=0), np.abs(np.diagonal(filters))
    for _, rows in each(table[table["head"] == "mean"], "model", "layer"):
        np.testing.assert_allclose(rows.gain_db_uniform, 20 * np.log10(gain[: N // 2 + 1]), atol=1e-4)
        np.testing.assert_allclose(rows.self_gain_db_uniform, 20 * np.log10(kept[: N // 2 + 1]), atol=1e-4)
        assert rows.gain_db_untrained.iloc[-1] == pytest.approx(rows.gain_db_uniform.iloc[-1], abs=0.5)


def test_the_map_beside_figure_2b_is_where_the_energy_goes(figures: Path, runs: Runs):
    for (model, layer), rows in each(pd.read_csv(figures / "fig2b_transfer.csv"), "model", "layer"):
        matrices = runs.attention(model, runs.full)[layer - 1][:, 0]
        power = (np.abs(WAVES @ matrices @ WAVES.conj().T) ** 2).mean(0)[:, : N // 2 + 1]
        power[1 : N // 2] += power[: N // 2 : -1]
        for _, head in each(rows, "head"):
            expected = power[: N // 2 + 1].ravel()
            np.testing.assert_allclose(head.power, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["fig2c", "fig7c"])
def test_figures_2c_and_7c_are_how_layers_answer_to_small_waves(name: str, figures: Path, runs: Runs):
    table = pd.read_csv(figures / f"{name}.csv")
    for model, rows in each(table, "model"):
        assert set(rows.users) == {128}
        for (_, measured), (everywhere, last) in zip(each(rows, "layer"), runs.answers(model[0]), strict=True):
            np.testing.assert_allclose(measured.last_gain, last, rtol=1e-4)
            np.testing.assert_allclose(measured.gain, everywhere, rtol=0.03)  # the notebook's is an estimate
            np.testing.assert_allclose(measured.relative_db, 20 * np.log10(measured.gain / measured.gain.iloc[0]))
            assert (measured.low <= measured.relative_db).all() and (measured.relative_db <= measured.high).all()
            assert measured.relative_db_untrained.notna().all()
            assert measured.relative_db_uniform.notna().all() == (model[0] != "fmlprec")  # it has no attention


def answer_to_waves(layer, x: torch.Tensor, step: float = 1e-4) -> tuple[np.ndarray, np.ndarray]:
    """What is left of a wave of each frequency in any one dimension, in all outputs and in the last: differences."""
    power = np.zeros((2, N // 2 + 1))
    for k in range(N // 2 + 1):
        for part in (WAVES[k].real, WAVES[k].imag):
            for dimension in range(x.shape[-1]):
                wave = torch.zeros_like(x)
                wave[..., dimension] = step * torch.from_numpy(part)
                change = ((layer(x + wave) - layer(x - wave)) / (2 * step)).square()
                power[:, k] += change.sum((1, 2)).mean().item(), change[:, -1].sum(1).mean().item()
    return tuple(np.sqrt(power / x.shape[-1]))


def test_figure_3a_is_the_singular_values_of_the_last_outputs(figures: Path, runs: Runs):
    for model, rows in each(pd.read_csv(figures / "fig3a.csv"), "model"):
        values = np.linalg.svd(runs.hidden(model[0])[-1][:, -1], compute_uv=False)
        np.testing.assert_allclose(rows.normalised, values / values[0], rtol=1e-4, atol=1e-5)
        assert set(rows.seeds) == {1} and set(rows.users) == {len(runs.inputs)}
        assert (rows.low[:-1] <= rows.normalised[:-1]).all() and (rows.normalised[:-1] <= rows.high[:-1]).all()


def test_figure_3b_is_the_mean_cosine_of_all_pairs(figures: Path, runs: Runs):
    for model, table in each(pd.read_csv(figures / "fig3b.csv"), "model"):
        assert (
            set(table.seeds) == {1} and (table.low < table.similarity).all() and (table.high > table.similarity).all()
        )
        rows = table.pivot(index="layer", columns="kind", values="similarity")
        for row, states in zip(rows.itertuples(), runs.hidden(model[0]), strict=True):
            units = states / np.linalg.norm(states, axis=2, keepdims=True)
            assert row.between_users == pytest.approx(mean_of_pairs(units[:, -1]), abs=1e-6)
            of_users = [
                mean_of_pairs(u[real]) for u, real in zip(units, runs.inputs > 0, strict=True) if real.sum() > 1
            ]
            assert row.within_sequence == pytest.approx(np.mean(of_users), abs=1e-6)


def mean_of_pairs(units: np.ndarray) -> float:
    one, other = np.triu_indices(len(units), 1)
    return float((units[one] * units[other]).sum(1).mean())


def test_figure_4_counts_the_parameters_of_each_step(figures: Path, runs: Runs):
    table, weights = pd.read_csv(figures / "fig4.csv"), runs.weights("bsarec")

    def size(*parts: str) -> int:
        return sum(values.size for key, values in weights.items() if any(part in key for part in parts))

    assert table.parameters.sum() == size("")
    steps = each(table[table.stage == "block"], "branch").parameters.sum()
    assert steps[1] == size("mixer.frequency") and steps[2] == size("mixer.attention")
    assert steps[0] == size("feed_forward")
    assert set(table[table.stage == "block"].times) == {LAYERS}


def test_figures_7a_and_7b_are_the_trained_filters(figures: Path, runs: Runs):
    beta, learned = pd.read_csv(figures / "fig7a.csv"), pd.read_csv(figures / "fig7b.csv")
    for layer in range(LAYERS):
        root = runs.weights("bsarec")[f"blocks.{layer}.mixer.frequency.sqrt_beta"]
        np.testing.assert_allclose(beta[beta.layer == layer + 1].beta, np.sort(root.ravel() ** 2), rtol=1e-5)
        parts = runs.weights("fmlprec")[f"blocks.{layer}.mixer.filter"]  # (F, D, 2), real and imaginary
        parts[[0, -1], :, 1] = 0  # waves that are real stay so
        rows = learned[learned.layer == layer + 1]
        np.testing.assert_allclose(rows.gain, np.hypot(parts[..., 0], parts[..., 1]).ravel(), rtol=1e-5)
        np.testing.assert_allclose(rows.phase, np.arctan2(parts[..., 1], parts[..., 0]).ravel(), atol=1e-5)


def test_theorem_1_has_the_second_eigenvalue_and_the_decay_of_trained_attention(figures: Path, runs: Runs):
    table = pd.read_csv(figures / "theorem1.csv").set_index(["attention", "name"])
    decay = pd.read_csv(figures / "theorem1_decay.csv").set_index(["attention", "name"]).sort_index()
    for model in ("sasrec", "bsarec"):
        for layer, matrices in enumerate(runs.attention(model, runs.full[:1]), start=1):
            name = (model, f"layer {layer}, head 1, causal")
            matrix = matrices[0, 0] / matrices[0, 0].sum(1, keepdims=True)
            modulus = np.sort(np.abs(np.linalg.eigvals(matrix)))[-2]
            row = table.loc[name]
            assert row["lambda2"] == pytest.approx(modulus, rel=1e-5)
            assert row["fitted_slope"] == pytest.approx(np.log(modulus), rel=1e-4)
            assert (row["collapses_onto"], row["collapse_weight"]) == (0, pytest.approx(1))
            x = np.random.default_rng(0).standard_normal(N)
            ratios = []
            for _ in range(20):
                ratios.append(np.log10(np.linalg.norm(x - x.mean()) / np.linalg.norm(np.full(N, x.mean()))))
                x = matrix @ x
            np.testing.assert_allclose(decay.loc[name].sort_values("t").log10_ratio[:20], ratios, atol=2e-4)
    of_exceptional = table[table.exceptional]
    assert (of_exceptional.predicted_slope == 0).all() and (of_exceptional.fitted_slope.abs() < 1e-3).all()


@pytest.mark.parametrize("notebook", ["fig5_fig6_sensitivity", "fig8_fig9_sensitivity"])
def test_figures_6_and_9_are_means_over_the_ranks_of_users(notebook: str, tmp_path: Path):
    stored = {(c, seed): result("bsarec", seed, 10 + c, alpha=0.9, c=c) for c in (1, 3, 5) for seed in (1, 2)}
    baseline = [result("sasrec", seed, 30) for seed in (1, 2)]
    store(tmp_path / "somewhere/runs/smoke", [*stored.values(), *baseline], best=3, setting="c")
    given = {"dataset": "somewhere"} if notebook.startswith("fig5") else {"datasets": {"somewhere": "smoke"}}
    papermill.execute_notebook(
        ROOT / f"notebooks/{notebook}.ipynb",
        tmp_path / "executed.ipynb",
        given | {"setting": "c", "profile": "smoke", "results": str(tmp_path), "out": str(tmp_path / "made")},
        kernel_name="python3",
        cwd=ROOT,
        progress_bar=False,
    )
    figure = tmp_path / "made" / ("somewhere/fig6.csv" if notebook.startswith("fig5") else "fig9.csv")
    table = pd.read_csv(figure).set_index(["metric", "value"])
    for c in (1, 3, 5):
        ranks = [np.array(stored[c, seed].test_ranks) for seed in (1, 2)]
        hits = [(of_run <= 20).mean() for of_run in ranks]
        gains = [np.where(of_run <= 20, 1 / np.log2(of_run + 1), 0).mean() for of_run in ranks]
        for metric, values in (("HR@20", hits), ("NDCG@20", gains)):
            row = table.loc[metric, c]
            assert [row["mean"], row["std"]] == pytest.approx([np.mean(values), np.std(values, ddof=1)])
            assert row.best == (c == 3) and row.system == "BSARec"
