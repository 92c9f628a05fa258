"""Plots: the numbers that are drawn, names that look like formulas, and files that can be decoded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit, ndtr, ndtri

from detector.evaluation import plots
from detector.pictures.images import decode
from detector.statistics.metrics import det, roc


def simulate(n: int = 400, *, apart: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are log-odds: two normal distributions of variance `apart` about -apart / 2 and apart / 2."""
    labels = np.arange(n) % 2
    noise = np.random.default_rng(seed).normal(size=n)
    return labels, apart * (labels - 0.5) + np.sqrt(apart) * noise


def named(ax: plots.Axes) -> dict[str, object]:
    legend = ax.get_legend()
    return dict(zip([t.get_text() for t in legend.get_texts()], legend.legend_handles, strict=True))


def draw_everything(name: str) -> list[plots.Axes]:
    labels, scores = simulate()
    real, fake = scores[labels == 0], scores[labels == 1]
    axes = plots.new_axes(7)
    steps = np.arange(6)
    plots.draw_roc({name: roc(labels, scores)[:2]}, axes[0], title=name)
    plots.draw_det({name: det(labels, scores)[:2]}, axes[1], title=name)
    plots.draw_histogram(real, fake, axes[2], generator=name, title=name)
    plots.draw_tippett(real, {name: fake}, axes[3], title=name)
    plots.draw_reliability(labels, scores, axes[4], title=name)
    plots.draw_robustness({name: (steps, 1 - steps / 9, 0.9 - steps / 9, 1 + 0 * steps)}, axes[5], metric=name)
    plots.draw_rates({name: (0.1, 0.05, 0.2)}, axes[6], label="called", title=name)
    return axes


@pytest.mark.parametrize(
    "name", ["style", "_hidden", r"$\frac{$", "a$b$c_1^2", "line\nbreak\x00", "人脸", "%s {0}", "x" * 500, ""]
)
def test_any_name_can_be_drawn_and_the_picture_decodes(name: str) -> None:
    axes = draw_everything(name)
    picture = decode(plots.to_png(axes[0].figure, dpi=50))
    assert picture.std() > 10
    assert tuple(picture[0, 0]) == (255, 255, 255)
    assert list(named(axes[0])) == [plots._shorten(name, plots.NAME + 10)]


def test_the_same_numbers_give_the_same_bytes() -> None:
    first, second = (plots.to_png(draw_everything("style")[0].figure, dpi=50) for _ in range(2))
    assert first == second


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import sys; from detector.evaluation import plots; ax, = plots.new_axes();"
        "plots.draw_roc({'a': ([0, 1], [0, 1])}, ax);"
        "plots.to_png(ax.figure); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_roc_draws_the_curve() -> None:
    labels, scores = simulate()
    (ax,) = plots.new_axes()
    x, y, _ = roc(labels, scores)
    assert plots.draw_roc({"style": (x, y)}, ax) is ax
    drawn = np.asarray(ax.lines[-1].get_xydata())
    assert np.array_equal(drawn, np.stack([x, y], 1))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    x = np.linspace(0, 1, 300_000)
    (ax,) = plots.new_axes()
    plots.draw_roc({"style": (x, np.sqrt(x))}, ax)
    drawn = np.asarray(ax.lines[-1].get_xydata())
    assert len(drawn) == plots.POINTS
    assert np.array_equal(drawn[[0, -1]], [[0, 0], [1, 1]])


def test_equal_normal_distributions_make_a_straight_det() -> None:
    """The reason for the scale: x + y = -d' (Martin et al., 1997)."""
    thresholds = np.linspace(-2, 4, 50)
    (ax,) = plots.new_axes()
    plots.draw_det({"style": (ndtr(-thresholds), ndtr(thresholds - 2))}, ax)
    x, y = np.asarray(ax.lines[-1].get_xydata()).T
    inside = (x > ax.get_xlim()[0] + 0.2) & (y > ax.get_ylim()[0] + 0.2)
    assert inside.sum() > 20
    assert np.allclose((x + y)[inside], -2)


def test_det_keeps_rates_of_none_and_all_on_the_page() -> None:
    (ax,) = plots.new_axes()
    plots.draw_det({"perfect": ([0, 0, 1], [1, 0, 0])}, ax)
    assert np.isfinite(np.asarray(ax.lines[-1].get_xydata())).all()
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "60 %"
    (ax,) = plots.new_axes()
    plots.draw_det({"inverted": ([0, 1, 1], [1, 1, 0])}, ax)
    assert ax.get_xlim()[1] == pytest.approx(ndtri(0.99))


def test_histograms_have_area_one_and_hold_every_score() -> None:
    labels, scores = simulate(2000)
    scores[:2] = [-1000, 1000]  # beyond the axis: counted in the outermost bins
    (ax,) = plots.new_axes()
    plots.draw_histogram(scores[labels == 0], scores[labels == 1], ax, generator="style")
    for patch in ax.patches:
        values, edges, _ = patch.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1)
    assert ax.get_xlim()[1] < 50
    assert list(named(ax)) == ["real, 1,000", "style, 1,000"]


def test_histograms_of_one_value() -> None:
    (ax,) = plots.new_axes()
    plots.draw_histogram([2.0], [2.0, 2.0], ax, generator="style")
    assert ax.get_xlim() == (1.5, 2.5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=30), st.lists(st.floats(-20, 20), min_size=1, max_size=30))
def test_tippett_shows_the_share_at_or_above(real: list[float], fake: list[float]) -> None:
    (ax,) = plots.new_axes()
    plots.draw_tippett(real, {"style": fake}, ax)
    for line, scores in zip(ax.lines[:2], (real, fake), strict=True):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert line.get_drawstyle() == "steps-pre"
        assert y[0] == 1
        assert y[-1] == 0
        for ratio in np.unique(x[1:-1]):  # steps-pre: the value on (x[i - 1], x[i]] is y[i]
            share = np.mean(np.asarray(scores) / np.log(10) >= ratio)
            assert y[np.flatnonzero(x == ratio)[0]] == pytest.approx(share)


@pytest.mark.parametrize("keep", [1.0, 0.1])  # of the fakes: the share of fakes must not move the points
def test_calibrated_scores_lie_on_the_diagonal(keep: float) -> None:
    labels, scores = simulate(60_000, apart=4)
    used = (labels == 0) | (np.random.default_rng(1).random(len(labels)) < keep)
    (ax,) = plots.new_axes()
    plots.draw_reliability(labels[used], scores[used], ax)
    x, y = np.asarray(ax.collections[-1].get_offsets()).T
    assert len(x) == 10
    assert np.abs(x - y).max() < 0.06
    bars = [np.asarray(s)[:, 1] for s in ax.collections[0].get_segments()]
    assert all(low < value < high for (low, high), value in zip(bars, y, strict=True))


def test_a_bin_weighs_both_classes_alike() -> None:
    (ax,) = plots.new_axes()
    plots.draw_reliability([0, 0, 0, 1], logit([0.52, 0.52, 0.52, 0.58]), ax)
    assert np.asarray(ax.collections[-1].get_offsets()) == pytest.approx(np.array([[0.55, 0.5]]))


def test_bands_carry_the_interval() -> None:
    (ax,) = plots.new_axes()
    steps = np.arange(3)
    plots.draw_robustness({"cnn": (steps, [0.9, 0.8, 0.7], [0.8, 0.7, 0.5], [0.95, 0.9, 0.85])}, ax, metric="AUC")
    band = ax.collections[0].get_paths()[0].vertices
    assert {0.5, 0.85} <= set(band[band[:, 0] == 2, 1])
    assert list(ax.get_xticks()) == [0, 1, 2]


def test_rates_carry_their_interval_and_the_first_is_on_top() -> None:
    (ax,) = plots.new_axes()
    plots.draw_rates({"a$b_1": (0.1, 0.05, 0.2), "c": (0.0, 0.0, 0.01)}, ax, label="called")
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a$b_1", "c"]
    lines = [np.asarray(segment).tolist() for part in ax.collections[::2] for segment in part.get_segments()]
    assert lines == [[[0.05, 0], [0.2, 0]], [[0, 1], [0.01, 1]]]
    assert [part.get_offsets().tolist() for part in ax.collections[1::2]] == [[[0.1, 0]], [[0, 1]]]


def test_more_curves_than_colours_are_grey_under_one_name() -> None:
    (ax,) = plots.new_axes()
    n = len(plots.COLOURS) + 3
    plots.draw_roc({f"g{i}": ([0, 1], [0, 1]) for i in range(n)}, ax)
    assert len(ax.lines) == n + 1
    assert list(named(ax))[-1] == "3 others"


def test_unfilled_panels_are_gone() -> None:
    axes = plots.new_axes(4)
    assert len(axes) == 4
    assert len(axes[0].figure.axes) == 4
