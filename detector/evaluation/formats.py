"""Numbers, intervals and headlines as the report writes them, in HTML and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from detector.statistics.metrics import METRICS

RATE_TITLES = {"fpr": "FPR", "fnr": "FNR", "auc_of_fakes": "AUC of its fakes"}  # figures of groups of people alone


def name_metric(name: str) -> str:
    """Return the name of a metric in reports.

    >>> name_metric("tpr_at_fpr_1")
    'TPR at 1 % FPR'
    """
    return RATE_TITLES.get(name) or str(METRICS.facts(name)["title"])


def format_number(value: float | None) -> str:
    """Return three decimals; None, or NaN in its place in a table, is infinity.

    >>> format_number(0.98765)
    '0.988'
    """
    return "∞" if value is None or math.isnan(value) else f"{value:.3f}"


def format_interval(row: Any) -> str:
    """Return the interval of anything with low and high; without a lower end there is none."""
    low, high = (row["low"], row["high"]) if isinstance(row, Mapping) else (row.low, row.high)
    return "no interval" if low is None or math.isnan(low) else f"[{format_number(low)}, {format_number(high)}]"


def format_share(value: float, row: Any) -> str:
    """Return a share in per cent with its interval.

    >>> format_share(0.1, {"low": 0.05, "high": 0.2})
    '10.0 % [5.0 %, 20.0 %]'
    """
    low, high = (row["low"], row["high"]) if isinstance(row, Mapping) else (row.low, row.high)
    return f"{value:.1%} [{low:.1%}, {high:.1%}]".replace("%", " %")


def format_chance(p: float) -> str:
    """Return a p-value; a small one only as less than a bound."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_group(row: Mapping[str, Any] | None) -> str:
    """Return a group's figure with its interval and number of people, or that there are too few."""
    if row is None:
        return ""
    value = "too few" if row["value"] is None else f"{format_number(row['value'])} {format_interval(row)}"
    return f"{value} n = {row['n']:,}"


def format_gap(gap: Mapping[str, Any]) -> str:
    """Return a gap between two groups in words."""
    sure = "beyond chance" if gap["p_corrected"] <= 0.05 else "within chance"
    return (
        f"{name_metric(gap['metric'])}: worst {gap['worst']}, best {gap['best']}, {gap['gap']:.3f} apart, {sure} "
        f"(p {format_chance(gap['p'])}, corrected {format_chance(gap['p_corrected'])})"
    )


def format_mean(headline: Mapping[str, Any]) -> str:
    """Return the headline's mean, with its interval if there is one."""
    if headline.get("mean_low") is None:
        return format_number(headline["mean"])
    return f"{format_number(headline['mean'])} " + format_interval(
        {"low": headline["mean_low"], "high": headline["mean_high"]}
    )


def count_compared(headline: Mapping[str, Any]) -> str:
    """Return the description of the headline's worst figure."""
    n = headline["pairs"]
    if headline["matched"]:
        return f"the worst of {n} matched pairs" if n > 1 else "the only matched pair"
    if headline["worst_real"] == "all":
        return f"the worst of {n} generators" if n > 1 else "the only generator"
    return f"the worst of {n} pairs of generator and photographs" if n > 1 else "the only generator"
