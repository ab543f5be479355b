"""Controls for a notebook: choose a checkpoint, a user, a layer and a head, and see what attention does there.

Contents: `explore`, which returns the `Explorer`, a widget for JupyterLab; and `AttentionByUser`, what it draws.
"""

import html
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from models import examples
from models.command_line import describe
from models.errors import DataError, UserError
from spectral.capture import capture, real_items
from spectral.choices import DRAWS
from spectral.command_line import Subject
from spectral.filter_response import FrequencyResponse
from spectral.filter_response.measure import attention_power
from spectral.nulls import null_models, nulls_of
from spectral.plot import frequency_response, style
from spectral.plot.nulls import Nulls
from spectral.response import DEFAULT_C

MEAN = "mean"  # of all heads
NONE = "none"  # no null model
MOST_USERS = 1000  # in the list of users; a longer one cannot be read
MOST_LABELS = 25  # items named along an axis; drawing text takes most of the time
KEPT = 32  # users whose maps are kept
SIZE, DPI = (3.8, 3.4), 110  # width and height of each picture in inches, and dots per inch
PLACE = (0.19, 0.14, 0.67, 0.82)  # of the axes in a picture; to find a place for them would take too long


class AttentionByUser:
    """The attention of a model on one user at a time. The last users are kept, and null models are made only once.

    Args:
        subject: The model and its users. Those with at least two items can be chosen, the first 1,000 of them.
        draws: Untrained models, or shuffled histories, of each null.

    Attributes:
        windows: (P, N) the model's inputs, full windows first.
        names: (P,) the dataset's ids of these users.

    Raises ConfigError if the model has no attention, and DataError if no user has two items.

    Example:
        >>> import tempfile
        >>> from models.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train("sasrec", "synthetic:users=20,items=30", out=f"{folder}/model.pt", epochs=1, max_len=10)
        ...     attention = AttentionByUser(Subject.load(run.path))
        >>> sorted(attention.maps(0)), tuple(attention.maps(0)[1].shape)  # layers, and (H, n, n) for n items
        ([1, 2], (1, 10, 10))
        >>> len(attention.of_null("untrained", 0))  # draws
        5
    """

    def __init__(self, subject: Subject, draws: int = DRAWS) -> None:
        subject.check_attention()
        self.model = subject.model
        windows, names = subject.windows[: subject.max_users], subject.names[: subject.max_users]
        lengths = real_items(windows).cpu().numpy()
        order = np.argsort(lengths < windows.shape[1], kind="stable")
        order = order[lengths[order] > 1][:MOST_USERS]
        if not len(order):
            raise DataError(f"{subject.dataset}: no user has two items or more, so there is no attention to look at")
        self.windows, self.names = windows[order], names[order]
        self.maps = lru_cache(KEPT)(lambda user: self._maps(self.model, self.windows[user]))
        self.of_null = lru_cache(KEPT)(self._of_null)
        self._nulls = lru_cache(None)(lambda null: list(null_models(null, self.model, self.windows, draws)))

    def _maps(self, model: Any, window: Tensor) -> dict[int, Tensor]:
        """Return the maps (H, n, n) of each layer on the n real items of a window (N,), on the CPU."""
        [found] = capture(model, window[None], hidden=False)
        found = found.last(int(found.mask[0].sum()))
        return {layer: maps[0].cpu() for layer, maps in found.attention_layers.items()}

    def _of_null(self, null: str, user: int) -> list[dict[int, Tensor]]:
        """Return the maps of a user for each draw of a null."""
        return [self._maps(model, windows[user]) for model, windows in self._nulls(null)]

    def items(self, user: int) -> list[int]:
        """Return the items of a user, one for each position of the maps."""
        return self.windows[user, -self.maps(user)[min(self.maps(user))].shape[-1] :].tolist()


class Explorer(widgets.VBox):
    """The controls and the pictures that follow them; `explore` makes it, and describes the arguments.

    Attributes:
        checkpoint, user, layer, head, c, null: The controls. What can be chosen comes from the model.
        message: What is shown, or why nothing can be shown.
        map, gain: The figures of the attention map and of its gain; None if there is nothing to draw.
        pictures: The two figures as PNG.
    """

    def __init__(self, checkpoint: str | Path, c: int | None = None, **loading: Any) -> None:
        super().__init__()
        self._loading = {**loading, "c": c}
        self._attention: AttentionByUser | None = None
        self._busy = False  # while controls are set here, nothing is drawn
        self.map: Figure | None = None
        self.gain: Figure | None = None
        self.checkpoint = widgets.Combobox(
            value=str(checkpoint),
            options=[f"{examples.PREFIX}{name}" for name in examples.names()],
            description="checkpoint",
            continuous_update=False,
            layout={"width": "40em"},
        )
        self.user, self.layer, self.head, self.null = (
            widgets.Dropdown(description=name) for name in ("user", "layer", "head", "null")
        )
        self.c = widgets.SelectionSlider(options=[DEFAULT_C], description="c", continuous_update=False)
        whole = {"flex": "0 0 auto", "max_width": "100%"}  # in a narrow window below one another, not cut off
        self.message, self.pictures = widgets.HTML(), [widgets.Image(format="png", layout=whole) for _ in range(2)]
        self._choices = (self.user, self.layer, self.head, self.c, self.null)
        wrapped = {"display": "flex", "flex_flow": "row wrap"}
        rows = [widgets.HBox([self.user, self.c, self.null]), widgets.HBox([self.layer, self.head])]
        self.children = [self.checkpoint, *rows, self.message, widgets.Box(self.pictures, layout=wrapped)]
        for control in (self.checkpoint, *self._choices):
            control.observe(self._follow, names="value")
        self._show(opening=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Say what is missing where widgets cannot be shown, in place of their code."""
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = "Controls, which need a running notebook: open it in JupyterLab."
        return bundle

    def _follow(self, change: Mapping[str, Any]) -> None:
        if not self._busy:
            changed = change["owner"]
            self._show(changed is self.checkpoint, redraw_map=changed not in (self.c, self.null))

    def _show(self, opening: bool, redraw_map: bool = True) -> None:
        """Offer what can be chosen and draw what is; an error is shown instead."""
        self._busy = True
        try:
            if opening:
                self._attention = None
                self._open()
            assert self._attention is not None
            self._offer(self._attention)
            self._draw(self._attention, redraw_map or self.map is None)
        except (UserError, OSError) as error:
            self._refuse(describe(error) if isinstance(error, OSError) else str(error))
        finally:
            for control in self._choices:
                control.disabled = self._attention is None
            self._busy = False

    def _open(self) -> None:
        subject = Subject.load(Path(self.checkpoint.value), **self._loading)
        low = subject.modes(self._loading["c"])
        opened = AttentionByUser(subject)
        lengths = real_items(opened.windows).tolist()
        users = [(f"{name} ({n} items)", row) for row, (name, n) in enumerate(zip(opened.names, lengths, strict=True))]
        self.user.options = users
        self.user.value = 0
        self.null.options = [NONE, *nulls_of(subject.model)]
        self.null.value = NONE
        self.c.options = [low]
        self._attention = opened

    def _offer(self, attention: AttentionByUser) -> None:
        """Offer the layers and heads of the model, and the c that the user's items can have."""
        maps = attention.maps(self.user.value)
        _offer(self.layer, list(maps))
        heads, positions, _ = maps[self.layer.value].shape
        _offer(self.head, [MEAN, *range(1, heads + 1)])
        _offer(self.c, range(1, positions + 1, 2))

    def _draw(self, attention: AttentionByUser, redraw_map: bool) -> None:
        user, null = self.user.value, self.null.value
        chosen = self._chosen(attention.maps(user))
        response = self._response(chosen)
        draws = [] if null == NONE else attention.of_null(null, user)
        nulls = {null: [self._response(self._chosen(draw)) for draw in draws]} if draws else {}
        if redraw_map:
            self.map = draw_map(chosen.mean(0), attention.items(user), self.map)
            self.pictures[0].value = _png(self.map)
        self.gain = draw_gain(response, nulls)
        self.pictures[1].value = _png(self.gain)
        passed = response.head_mean.passed_ratio[0, 0]
        self.message.value = (
            f"User {attention.names[user]}, layer {self.layer.value}, head {self.head.value}: the power that passes "
            f"above the c = {response.c} lowest modes is {passed:.3g} times that in them. The dashed line is between."
        )

    def _chosen(self, maps: Mapping[int, Tensor]) -> Tensor:
        """Return the maps of the chosen layer and head, (1, n, n), or of all its heads for their mean, (H, n, n)."""
        heads = maps[self.layer.value]
        return heads if self.head.value == MEAN else heads[self.head.value - 1 : self.head.value]

    def _response(self, maps: Tensor) -> FrequencyResponse:
        return attention_power(maps[None]).response(self.c.value, [self.layer.value])

    def _refuse(self, reason: str) -> None:
        self.map = self.gain = None
        for picture in self.pictures:
            picture.value = b""
        self.message.value = f"<b>error:</b> {html.escape(reason)}"


def explore(
    checkpoint: str | Path,
    *,
    data: str | None = None,
    data_dir: str | Path | None = None,
    max_users: int | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    c: int | None = None,
    adapter: str | None = None,
) -> Explorer:
    """Return controls for JupyterLab that choose a checkpoint, user, layer, head, c and null model, with two pictures.

    On the left is the attention map of the chosen head on the user's items: rows attend to columns, both are named by
    item. On the right is its gain at each frequency, the chosen null model in grey, and a dashed line between the low
    modes, of which there are c, and the high ones. The head "mean" is the mean over heads: of the maps on the left, of
    the power on the right, where thin lines are the heads. A null model is made when it is first chosen.

    A checkpoint that cannot be opened, and settings that do not fit it, are an error shown in the panel.

    Args:
        checkpoint: A file that `models.load` opens, or `example:bsarec`; the control takes another one.
        data: Name or file of a dataset to take the users from; None for those kept in the checkpoint.
        data_dir: Where to look for the dataset's file first.
        max_users: Use the first so many users only.
        settings: For third-party checkpoints, what they do not say.
        c: Number of low modes to begin with, odd; None for 3. Also BSARec's c for a third-party checkpoint without one.
        adapter: FILE.py:FUNCTION of yours that loads the checkpoint, as for the commands.

    Example:
        >>> import tempfile
        >>> from models.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train("sasrec", "synthetic:users=20,items=30", out=f"{folder}/model.pt", epochs=1, max_len=10)
        ...     panel = explore(run.path)
        >>> panel.null.options, panel.c.options
        (('none', 'uniform', 'untrained', 'shuffled'), (1, 3, 5, 7, 9))
        >>> panel.layer.value = 2
        >>> panel.map.axes[0].images[0].get_array().shape
        (10, 10)
    """
    folder = None if data_dir is None else Path(data_dir)
    loading = {"data": data, "data_dir": folder, "max_users": max_users, "settings": settings, "adapter": adapter}
    return Explorer(checkpoint, c, **loading)


def draw_map(attention: Tensor, items: Sequence[int], figure: Figure | None = None) -> Figure:
    """Draw an attention map (n, n): darker, by the square root, where a row attends more to a column.

    items: n ids, the labels of both axes; of more than 25 every second or third is named. figure: of an earlier call,
    which is changed and returned; that takes half the time.

    Example:
        >>> import torch
        >>> [label.get_text() for label in draw_map(torch.eye(2), [7, 9]).axes[0].get_xticklabels()]
        ['7', '9']
    """
    with style():
        figure = _empty_map() if figure is None else figure
        ax, n = figure.axes[0], len(items)
        ax.images[0].set(
            data=attention.numpy(), extent=(-0.5, n - 0.5, n - 0.5, -0.5), clim=(0, float(attention.max()))
        )
        places = range(0, n, -(-n // MOST_LABELS))
        labels = [str(items[place]) for place in places]
        ax.set_xticks(places, labels, rotation=90)
        ax.set_yticks(places, labels)
    return figure


def _empty_map() -> Figure:
    figure, ax = _axes()
    # Most weights are far below the largest, which is often that of the first item on itself.
    scale = PowerNorm(0.5)
    image = ax.imshow(np.zeros((1, 1)), cmap="Greys", norm=scale, interpolation="nearest", aspect="auto")
    ax.tick_params(labelsize=6)
    ax.grid(False)
    ax.set_xlabel("attends to item")
    ax.set_ylabel("item")
    figure.colorbar(image, cax=figure.add_axes((0.88, PLACE[1], 0.02, PLACE[3])))
    return figure


def draw_gain(response: FrequencyResponse, nulls: Nulls[FrequencyResponse]) -> Figure:
    """Draw a gain, its null models in grey, and a dashed line between the low modes and the high ones.

    Example:
        >>> import torch
        >>> from spectral import frequency_response as measure
        >>> figure = draw_gain(measure(torch.eye(8), c=3), {})  # frequency 1 of 0..4 is the last low one
        >>> [x / np.pi for x in figure.axes[0].lines[-1].get_xdata()]
        [0.375, 0.375]
    """
    figure, ax = _axes()
    frequency_response(response, nulls=nulls, ax=ax)
    boundary = 2 * np.pi * (response.c // 2 + 0.5) / response.positions
    ax.axvline(boundary, color="#0072B2", linestyle="--", linewidth=0.7)
    return figure


def _axes() -> tuple[Figure, Axes]:
    with style():
        figure = Figure(figsize=SIZE, dpi=DPI)
        figure.set_layout_engine("none")
        return figure, figure.add_axes(PLACE)


def _offer(control: Any, values: Sequence[Any]) -> None:
    """Offer values in a control; it keeps its value, or takes the nearest one, if it is a number, or the first."""
    now = control.value
    if tuple(values) == tuple(control.options):
        return
    with control.hold_trait_notifications():
        control.options = list(values)
    numbers = [value for value in values if isinstance(value, int)]
    near = min(numbers, key=lambda value: abs(value - now)) if isinstance(now, int) else values[0]
    control.value = near


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with style():
        FigureCanvasAgg(figure).print_png(buffer)  # `savefig` would draw it twice
    return buffer.getvalue()
