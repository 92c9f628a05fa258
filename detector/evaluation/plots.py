"""Plots: each function draws numbers on axes and returns the axes. The only module that imports matplotlib.

There is no pyplot and no global state: `new_axes` makes a figure, `to_png` returns its bytes. Names are drawn as plain
text, never as formulas. Colour-blind readers can distinguish the colours (Okabe and Ito, 2008), and the dashes of the
lines differ in grey print. The background is white, also on a dark page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri

from detector.statistics.proportions import clopper_pearson

Floats = NDArray[np.float64]
Curve = tuple[ArrayLike, ArrayLike]  # x (U,), y (U,)
Band = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]  # x, value, low, high, each (K,)

REAL, FAKE = "#0072B2", "#D55E00"
COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")  # first curves; further ones are grey
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1)))
INK, PALE, GRID = "#333333", "#B5B5B5", "#E8E8E8"
DPI = 150
RATES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99)  # ticks of a DET curve
BINS = 40  # bins of a histogram
POINTS = 2000  # largest number of points drawn of a curve
NAME = 28  # largest number of characters drawn of a name


def new_axes(panels: int = 1, *, columns: int = 3, width: float = 4.2, height: float = 4.2) -> list[Axes]:
    """Return the axes of one new figure, `columns` side by side at most; width and height of a panel in inches."""
    columns = min(panels, columns)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.remove()
    return axes[:panels]


def to_png(figure: Any, *, dpi: int = DPI) -> bytes:
    """Return a figure as the bytes of a PNG file, cut to what is drawn; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"Glyph .* missing from"
        )  # a box is drawn for letters not in the font
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
    return buffer.getvalue()


def draw_roc(curves: Mapping[str, Curve], ax: Axes, *, title: str = "") -> Axes:
    """Return the axes with one ROC per name, x = FPR and y = TPR, and the line of chance."""
    ax.plot([0, 1], [0, 1], color=PALE, lw=0.8, zorder=1)
    lines = _draw_lines(ax, {name: (np.asarray(x), np.asarray(y)) for name, (x, y) in curves.items()})
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    _label(ax, title, "real pictures accused (FPR)", "fakes found (TPR)")
    _legend(ax, lines, "lower right")
    return ax


def draw_det(curves: Mapping[str, Curve], ax: Axes, *, title: str = "") -> Axes:
    """Return the axes with one DET curve per name, x = FPR and y = FNR, both on the scale of normal quantiles.

    Rates too small for the axes are drawn on their edge. Source: Martin et al., 1997, doi:10.21437/Eurospeech.1997-504.
    """
    rates = {name: np.asarray(curve, np.float64) for name, curve in curves.items()}
    balance = max((float(np.minimum(*curve).max()) for curve in rates.values()), default=0.0)
    positive = np.concatenate([curve[curve > 0] for curve in rates.values()]) if rates else np.array([0.01])
    low = float(np.clip(positive.min() / 2, 0.0005, 0.005))
    high = 0.99 if balance > 0.5 else 0.7
    ends = ndtri([low * 0.9, high])
    ax.plot(ends, ends, color=PALE, lw=0.8, zorder=1)
    lines = _draw_lines(ax, {name: tuple(ndtri(np.clip(curve, low, 1 - 1e-9))) for name, curve in rates.items()})
    ticks = [rate for rate in RATES if low <= rate <= high]
    names = [f"{100 * rate:g} %" for rate in ticks]
    ax.set(xlim=ends, ylim=ends, aspect="equal", xticks=ndtri(ticks), yticks=ndtri(ticks))
    ax.set_xticklabels(names)
    ax.set_yticklabels(names)
    _label(ax, title, "real pictures accused (FPR)", "fakes missed (FNR)")
    _legend(ax, lines)
    return ax


def draw_histogram(real: ArrayLike, fake: ArrayLike, ax: Axes, *, generator: str, title: str = "") -> Axes:
    """Return the axes with the histograms of real and of one generator's scores; each has area 1.

    real, fake: log-odds, (N,) and (M,). The outermost thousandths are counted in the outermost bins.
    """
    columns = [np.asarray(real, np.float64), np.asarray(fake, np.float64)]
    tails = np.array([np.quantile(c, [0.001, 0.999]) for c in columns])
    low, high = float(tails[:, 0].min()), float(tails[:, 1].max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    lines = {}
    for name, column, colour in zip(("real", generator), columns, (REAL, FAKE), strict=True):
        share = np.histogram(np.clip(column, low, high), edges, density=True)[0]
        ax.stairs(share, edges, fill=True, color=colour, alpha=0.3, lw=0)
        lines[f"{_shorten(name)}, {len(column):,}"] = ax.stairs(share, edges, color=colour, lw=1.4)
    if low < 0 < high:
        ax.axvline(0, color=INK, lw=0.8, dashes=(2, 2))
    ax.set(xlim=(low, high), yticks=[])
    ax.set_ylim(0, ax.get_ylim()[1] * 1.25)
    _label(ax, title, "score (log-odds; larger is more fake)", "density")
    _legend(ax, lines, "upper center", columns=2)
    return ax


def draw_tippett(real: ArrayLike, fakes: Mapping[str, ArrayLike], ax: Axes, *, title: str = "") -> Axes:
    """Return the axes with the share of pictures, y, whose log10 likelihood ratio is at least x: real and generators.

    real, fakes: natural log-odds at even prior, (N,). Right of 0, whatever is left of the real line misleads.
    """
    curves: dict[str, tuple[Floats, Floats]] = {}
    for name, scores in (("real", real), *fakes.items()):
        ratios = np.sort(np.asarray(scores, np.float64)) / np.log(10)
        curves[name] = (ratios, 1 - np.arange(len(ratios)) / len(ratios))
    reach = max(float(np.abs(x).max()) for x, _ in curves.values()) * 1.05 or 1.0
    real_x, real_y = curves.pop("real")
    lines = {"real": ax.step([-reach, *real_x, reach], [1, *real_y, 0], where="pre", color=REAL, lw=2)[0]}
    stepped = {n: (np.array([-reach, *x, reach]), np.array([1, *y, 0])) for n, (x, y) in curves.items()}
    lines |= _draw_lines(ax, stepped, drawstyle="steps-pre")
    ax.axvline(0, color=INK, lw=0.8, dashes=(2, 2))
    room = 0.08 * -(-len(lines) // 2)  # space above the curves for the legend, which must not hide them
    ax.set(xlim=(-reach, reach), ylim=(0, 1.03 + room), yticks=np.linspace(0, 1, 6))
    _label(ax, title, "log₁₀ likelihood ratio, fake : real", "share of pictures with at least this ratio")
    _legend(ax, lines, "upper center", columns=2)
    return ax


def draw_reliability(labels: ArrayLike, scores: ArrayLike, ax: Axes, *, bins: int = 10, title: str = "") -> Axes:
    """Return the axes with the share of fakes, y, among pictures of like probability, x, as both classes weighed alike.

    labels: (N,), 0 real, 1 fake. scores: log-odds at even prior, (N,). Bars: 95 % Clopper-Pearson, every picture for
    itself; that interval's odds are multiplied by n_real / n_fake, as the share's are.
    """
    fake, p = np.asarray(labels).astype(bool), expit(np.asarray(scores, np.float64))
    where = np.minimum((p * bins).astype(int), bins - 1)
    odds = float((~fake).sum() / fake.sum())

    def even(share: float) -> float:
        return odds * share / (1 - share + odds * share)

    weight = np.where(fake, odds, 1.0)
    rows = []
    for k in np.unique(where):
        inside = where == k
        found, n = int(fake[inside].sum()), int(inside.sum())
        low, high = clopper_pearson(found, n)
        rows.append((np.average(p[inside], weights=weight[inside]), even(found / n), even(low), even(high), n))
    x, y, low_ends, high_ends, count = np.array(rows).T
    ax.plot([0, 1], [0, 1], color=PALE, lw=0.8, zorder=1)
    ax.vlines(x, low_ends, high_ends, color=FAKE, lw=1.2, alpha=0.7)
    ax.scatter(x, y, s=16 + 90 * count / count.max(), color=FAKE, edgecolor="white", linewidth=0.8, zorder=3)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    _label(ax, title, "probability of fake, by the score", "share of fakes, both classes weighed alike")
    return ax


def draw_robustness(curves: Mapping[str, Band], ax: Axes, *, metric: str, title: str = "") -> Axes:
    """Return the axes with one line per name, x = severity (0 is untouched), y = metric, its interval a band."""
    lines = _draw_lines(ax, {name: (np.asarray(c[0]), np.asarray(c[1])) for name, c in curves.items()}, marker="o")
    for line, (x, _, low, high) in zip(lines.values(), curves.values(), strict=True):
        ax.fill_between(np.asarray(x), np.asarray(low), np.asarray(high), color=line.get_color(), alpha=0.15, lw=0)
    ax.set_xticks(sorted({int(s) for c in curves.values() for s in np.asarray(c[0])}))
    _label(ax, title, "severity", metric)
    _legend(ax, lines)
    return ax


def draw_rates(rates: Mapping[str, tuple[float, float, float]], ax: Axes, *, label: str, title: str = "") -> Axes:
    """Return the axes with one share per name, (value, low, high), as a point with its interval; the first on top."""
    for place, (value, low, high) in enumerate(rates.values()):
        ax.hlines(place, low, high, color=REAL, lw=1.6, alpha=0.7)
        ax.scatter([value], [place], s=28, color=REAL, zorder=3)
    reach = max((high for _, _, high in rates.values()), default=1.0)
    ax.set(xlim=(-0.03 * reach, 1.08 * reach), ylim=(len(rates) - 0.5, -0.5), yticks=range(len(rates)))
    _label(ax, title, label, "")
    ax.set_yticklabels([_shorten(name) for name in rates], parse_math=False)
    ax.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    return ax


def _draw_lines(ax: Axes, curves: Mapping[str, tuple[Any, ...]], **style: Any) -> dict[str, Any]:
    """Return name -> line: the first ones in colours, the others grey behind them under one name."""
    lines: dict[str, Any] = {}
    for i, (name, (all_x, all_y)) in enumerate(curves.items()):
        shown = np.unique(np.linspace(0, len(all_x) - 1, min(len(all_x), POINTS)).astype(int))
        x, y = all_x[shown], all_y[shown]
        if i < len(COLOURS):
            dash = DASHES[i % len(DASHES)]
            (lines[name],) = ax.plot(x, y, color=COLOURS[i], linestyle=dash, lw=1.6, ms=3.5, zorder=4, **style)
        else:
            (line,) = ax.plot(x, y, color=PALE, lw=0.9, zorder=2, **style)
            lines.setdefault(f"{len(curves) - len(COLOURS)} others", line)
    return lines


def _label(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_xlabel(x, color=INK, fontsize=9)
    ax.set_ylabel(y, color=INK, fontsize=9, parse_math=False)
    if title:
        _title(title, ax)
    ax.tick_params(colors=INK, labelsize=8, length=0)
    ax.grid(color=GRID, lw=0.7)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(PALE)


def _title(title: str, ax: Axes) -> None:
    ax.set_title(_shorten(title), color=INK, fontsize=10, loc="left", fontweight="bold", parse_math=False)


def _legend(ax: Axes, lines: Mapping[str, Any], place: Any = "best", *, columns: int = 1) -> None:
    """Draw a legend in which names are no formulas, and names with a leading underscore are shown."""
    if not lines:
        return
    legend = ax.legend([*lines.values()], ["name"] * len(lines), loc=place, ncols=columns, frameon=True,
                       fontsize=8, labelcolor=INK, facecolor="white", edgecolor="none", framealpha=0.85)  # fmt: skip
    for text, name in zip(legend.get_texts(), lines, strict=True):
        text.set_parse_math(False)
        text.set_text(_shorten(name, NAME + 10))


def _shorten(name: str, limit: int = NAME) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
