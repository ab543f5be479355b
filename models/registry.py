"""The models by name, and their configuration from settings."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from models.architectures.bert4rec import BERT4Rec
from models.architectures.bsarec import BSARec
from models.architectures.caser import Caser
from models.architectures.duorec import DuoRec
from models.architectures.fearec import FEARec
from models.architectures.fmlprec import FMLPRec
from models.architectures.gru4rec import GRU4Rec
from models.architectures.sasrec import SASRec
from models.errors import ConfigError
from models.recommender import Recommender, RecommenderConfig
from models.third_party.bsarec_repository import BidirectionalSASRec, OneBandFEARec
from models.third_party.gsasrec import GSASRec
from models.third_party.pmixer import PmixerSASRec
from models.third_party.recbole import RecBoleBERT4Rec, RecBoleFMLPRec, RecBoleGRU4Rec, RecBoleSASRec
from models.third_party.rechorus import ReChorusBSARec, ReChorusSASRec

MODELS: dict[str, type[Recommender]] = {
    model.name: model for model in (SASRec, BSARec, FMLPRec, DuoRec, FEARec, BERT4Rec, GRU4Rec, Caser)
}
# Architectures of third-party checkpoints that are not ours: they are opened and measured, not trained.
THIRD_PARTY: dict[str, type[Recommender]] = {
    model.name: model
    for model in (
        *(BidirectionalSASRec, OneBandFEARec),
        *(ReChorusSASRec, ReChorusBSARec),
        *(RecBoleSASRec, RecBoleBERT4Rec, RecBoleGRU4Rec, RecBoleFMLPRec),
        *(PmixerSASRec, GSASRec),
    )
}
KNOWN = MODELS | THIRD_PARTY
SIZES = ("num_items", "num_users")  # fields of a configuration that the data decides


def model_type(name: str, among: Mapping[str, type[Recommender]] = MODELS) -> type[Recommender]:
    """Return the class of the model of this name; raises ConfigError for an unknown one."""
    try:
        return among[name]
    except KeyError:
        raise ConfigError(f"unknown model {name!r}; choose one of {', '.join(among)}") from None


def configure(
    name: str,
    num_items: int,
    num_users: int | None = None,
    among: Mapping[str, type[Recommender]] = MODELS,
    **settings: Any,
) -> RecommenderConfig:
    """Return the validated configuration of a model; settings that are None keep the model's default.

    num_users: of the training data; only a model that learns something of each user (Caser) takes it. among: the
    models to choose from, KNOWN for those of third parties as well.
    Raises ConfigError for an unknown model, a setting that the model does not have, or one outside its range.
    """
    config_type = model_type(name, among).config_type
    known = [field.name for field in fields(config_type) if field.name not in SIZES]
    chosen = {key: value for key, value in settings.items() if value is not None}
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise ConfigError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    if num_users is not None and any(field.name == "num_users" for field in fields(config_type)):
        chosen["num_users"] = num_users
    return config_type(num_items=num_items, **chosen)


def build(config: RecommenderConfig) -> Recommender:
    """Return the model that a configuration is for; its weights are not initialised yet."""
    model: Any = next(model for model in KNOWN.values() if model.config_type is type(config))
    return model(config)
