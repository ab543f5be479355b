"""Settings of models that are out of range are refused, with those that are allowed."""

import pytest
from plain_models import ITEMS, USERS

from models.errors import ConfigError
from models.registry import configure


@pytest.mark.parametrize(
    ("name", "bad", "word"),
    [
        ("bert4rec", {"mask_ratio": 1.0}, "mask_ratio"),
        ("duorec", {"temperature": 0.0}, "temperature"),
        ("duorec", {"contrastive_weight": -1.0}, "contrastive_weight"),
        ("fearec", {"global_ratio": 1.5}, "global_ratio"),
        ("fearec", {"delay_factor": 0.0}, "delay_factor"),
        ("gru4rec", {"gru_hidden_size": 0}, "gru_hidden_size"),
        ("gru4rec", {"num_heads": 2}, "num_heads"),
        ("fmlprec", {"num_heads": 2}, "num_heads"),
        ("caser", {"horizontal": 0}, "horizontal"),
        ("caser", {"regularisation": -1.0}, "regularisation"),
    ],
)
def test_settings_out_of_range_are_named(name: str, bad: dict[str, object], word: str):
    with pytest.raises(ConfigError, match=word):
        configure(name, ITEMS, USERS, **bad)


@pytest.mark.parametrize(
    ("model", "wrong", "message"),
    [
        ("bsarec", {"c": 4}, "c must be odd"),
        ("bsarec", {"c": 51}, r"1\.\.50"),
        ("bsarec", {"c": 0}, "c must be odd"),
        ("bsarec", {"alpha": 1.5}, "alpha must lie in 0..1, got 1.5"),
        ("bsarec", {"beta": "matrix"}, "vector or scalar"),
        ("sasrec", {"num_heads": 3}, "3 heads do not divide 64"),
        ("sasrec", {"dropout": 1.0}, "dropout"),
        ("sasrec", {"num_layers": 0}, "num_layers"),
        ("sasrec", {"alpha": 0.5}, "sasrec has no setting alpha"),
        ("gru", {}, "unknown model 'gru'; choose one of sasrec, bsarec"),
    ],
)
def test_wrong_settings_are_refused_with_the_allowed_ones(model, wrong, message):
    with pytest.raises(ConfigError, match=message):
        configure(model, 100, **wrong)
