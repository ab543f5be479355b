"""All models by name, and how a model's configuration is made from settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from models.architectures.bert4rec import BERT4Rec
from models.architectures.bsarec import BSARec
from models.architectures.caser import Caser
from models.architectures.duorec import DuoRec
from models.architectures.fearec import FEARec
from models.architectures.fmlprec import FMLPRec
from models.architectures.gru4rec import GRU4Rec
from models.architectures.lowarec import LoWARec
from models.architectures.sasrec import SASRec
from models.architectures.slime4rec import SLIME4Rec
from models.architectures.tvrec import TVRec
from models.architectures.wearec import WEARec
from models.errors import ConfigError, did_you_mean
from models.recommender import Recommender, RecommenderConfig
from models.third_party.bsarec_repository import BidirectionalSASRec, OneBandFEARec
from models.third_party.gsasrec import GSASRec
from models.third_party.pmixer import PmixerSASRec
from models.third_party.recbole import (
    RecBoleBERT4Rec,
    RecBoleFMLPRec,
    RecBoleGRU4Rec,
    RecBoleOldBERT4Rec,
    RecBoleSASRec,
)
from models.third_party.rechorus import ReChorusBSARec, ReChorusSASRec

MODELS: dict[str, type[Recommender]] = {
    model.name: model
    for model in (
        *(SASRec, BSARec, FMLPRec, DuoRec, FEARec, BERT4Rec, GRU4Rec, Caser),
        *(TVRec, WEARec, SLIME4Rec, LoWARec),
    )
}
# Architectures that only third-party checkpoints have: they can be loaded and measured, but not trained.
THIRD_PARTY: dict[str, type[Recommender]] = {
    model.name: model
    for model in (
        *(BidirectionalSASRec, OneBandFEARec),
        *(ReChorusSASRec, ReChorusBSARec),
        *(RecBoleSASRec, RecBoleBERT4Rec, RecBoleOldBERT4Rec, RecBoleGRU4Rec, RecBoleFMLPRec),
        *(PmixerSASRec, GSASRec),
    )
}
KNOWN = MODELS | THIRD_PARTY
R = TypeVar("R", bound=Recommender)
GROUP = "models.architectures"  # entry points of installed packages
SIZES = ("num_items", "num_users")  # fields of a configuration that follow from the data


def register(name: str) -> Callable[[type[R]], type[R]]:
    """Return a class decorator that makes a model known by a name: to train, load and measure like ours.

    The class is a `Recommender`, or one of `Encoder`, with a configuration as `config_type`; if it has that of its base
    class, it gets one of its own with the same fields. `title` is the name if the class sets none. The file is run with
    `--adapter FILE.py`, or imported, also through an entry point (`installed`).

    Raises ConfigError for a class that is no Recommender, and a name that another class has.

    >>> from models.architectures.sasrec import SASRec
    >>> @register("double-sasrec")
    ... class Double(SASRec):
    ...     title = "Double SASRec"
    >>> build(configure("double-sasrec", num_items=9)).title
    'Double SASRec'
    >>> del MODELS["double-sasrec"], KNOWN["double-sasrec"]  # forget it again
    """

    def add(model: type[R]) -> type[R]:
        if not (isinstance(model, type) and issubclass(model, Recommender)):
            raise ConfigError(f"@register({name!r}) takes a class of models.recommender.Recommender, got {model!r}")
        known = KNOWN.get(name)
        if known is not None and _place(known) != _place(model):
            raise ConfigError(f"@register({name!r}): the name is that of {known.__module__}.{known.__qualname__}")
        if not isinstance(getattr(model, "config_type", None), type):
            raise ConfigError(f"@register({name!r}): {model.__qualname__} has no config_type, a RecommenderConfig")
        if "title" not in vars(model):
            model.title = name
        model.name = name
        if any(other.config_type is model.config_type for other in KNOWN.values() if other is not known):
            own = type(f"{model.__name__}Config", (model.config_type,), {"__doc__": model.config_type.__doc__})
            model.config_type = dataclass(frozen=True)(own)
        MODELS[name] = KNOWN[name] = model
        return model

    return add


def installed(name: str) -> bool:
    """Return whether an installed package has an architecture of this name, which is then registered.

    It has one if it has an entry point of the group `models.architectures` whose name is that of the architecture, and
    whose object is the class, or a module that registers it. A package is imported only when its name is asked for, and
    no name of ours is.

    Raises ConfigError, which names distribution and entry point, if it cannot be imported or is no such class, or if
    several distributions have the name.

    >>> installed("applause")
    False
    """
    found = entry_points(group=GROUP, name=name)
    if not found:
        return False
    described = [f"{each.name} = {each.value} of {each.dist.name if each.dist else 'a package'}" for each in found]
    if len(found) > 1:
        raise ConfigError(
            f"several entry points of {GROUP} have one name: {'; '.join(described)}; uninstall all but one"
        )
    [entry], [said] = found, described
    try:
        _register_entry(entry)
    except Exception as error:  # whatever the code of a package raises
        reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        reason = reason.partition("\n")[0]
        raise ConfigError(f"the entry point {said} in {GROUP} cannot be used: {reason}") from error
    return True


def _register_entry(entry: EntryPoint) -> None:
    made = entry.load()
    if entry.name in KNOWN:  # the class or its module has registered itself
        return
    others = [name for name, known in KNOWN.items() if known is made]
    if others:
        raise ConfigError(f"it registers {others[0]!r}, so that must be the entry point's name")
    if not isinstance(made, type):
        raise ConfigError(f"it registers no {entry.name!r}, and is no class")
    register(entry.name)(made)


def _place(model: type) -> tuple[str, str]:
    """Return where a class is defined: the same for a file that is run twice."""
    return model.__module__, model.__qualname__


def model_type(name: str, among: Mapping[str, type[Recommender]] = MODELS) -> type[Recommender]:
    """Return the class of the model with this name.

    among: the models to choose from, by name; those of installed packages belong to each choice.

    Raises:
        ConfigError: If the name is unknown, it lists the known ones; for an installed one as `installed` does.

    >>> model_type("bsarec").title, model_type("bsarec").published_loss
    ('BSARec', 'ce')
    """
    if name not in among and name not in KNOWN and installed(name):
        return KNOWN[name]
    try:
        return among[name]
    except KeyError:
        names = [*among, *sorted(entry_points(group=GROUP).names - among.keys())]
        raise ConfigError(
            f"unknown model {name!r}; choose one of {', '.join(names)}, or name the file that registers your own: "
            f"--adapter FILE.py{did_you_mean(name, names)}"
        ) from None


def configure(
    name: str,
    num_items: int,
    num_users: int | None = None,
    among: Mapping[str, type[Recommender]] = MODELS,
    **settings: Any,
) -> RecommenderConfig:
    """Return the validated configuration of a model.

    Args:
        name: Name of the model.
        num_items: Largest item id of the training data.
        num_users: Number of users in the training data. Only a model with a parameter per user (Caser) uses it.
        among: The models to choose from; KNOWN includes the third-party ones.
        **settings: Fields of the configuration; a field that is missing or None keeps the model's default.

    Raises:
        ConfigError: For an unknown model, a setting that the model does not have, or a value outside its range.

    >>> config = configure("bsarec", num_items=100, alpha=0.7, c=None)
    >>> config.alpha, config.c, config.max_len  # c and max_len keep their defaults
    (0.7, 3, 50)
    >>> configure("sasrec", num_items=100, dropout=1.5)
    Traceback (most recent call last):
    models.errors.ConfigError: dropout must be at least 0 and below 1, got 1.5
    """
    config_type = model_type(name, among).config_type
    known = [field.name for field in fields(config_type) if field.name not in SIZES]
    chosen = {key: value for key, value in settings.items() if value is not None}
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise ConfigError(
            f"{name} has no setting {', '.join(unknown)}; it has {', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    if num_users is not None and any(field.name == "num_users" for field in fields(config_type)):
        chosen["num_users"] = num_users
    return config_type(num_items=num_items, **chosen)


def build(config: RecommenderConfig) -> Recommender:
    """Return the model that a configuration belongs to; call `initialise` on it to draw its weights.

    >>> model = build(configure("sasrec", num_items=100, hidden_size=16))
    >>> model.initialise(seed=0)
    >>> tuple(model.items.weight.shape)  # one row per item, and row 0 for padding
    (101, 16)
    """
    model: Any = next(model for model in KNOWN.values() if model.config_type is type(config))
    return model(config)
