"""Print the tables of docs/accuracy.md from the report of a suite, and from a model card.

    python benchmarks/accuracy_tables.py build/sources/report.json released default strong \\
        --card detector/weights/default/card.json
    python benchmarks/accuracy_tables.py build/open/results/report.json released default strong
    python benchmarks/accuracy_tables.py build/open/alarms/report.json default strong

The arguments after the report name detectors of it, in the order of the columns. Without a card, the tables of
likelihood ratios and verdicts are left out. Of the suite `alarms` there is one table, of the changes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

CONDITIONS = {"none": "", "resize_jpeg": ", half size and JPEG 60"}  # perturbation -> its text in the head of a column
RECONSTRUCTED = " of "  # part of the name of a set of reconstructions, "AUTOENCODER of PHOTOGRAPHS"


def main() -> None:
    """Print every table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("detectors", nargs="+")
    parser.add_argument("--card", type=Path)
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text())
    alarms = pd.DataFrame(report["false_alarms"])
    if set(alarms.perturbation) - set(CONDITIONS):
        print_changes(alarms, pd.DataFrame(report["results"]), arguments.detectors)
        return
    pairs = pd.DataFrame(report["pairs"])
    for role, title in (("matched", "fakes"), ("photographs", "photographs")):
        print_pairs(pairs[pairs.role == role], title, arguments.detectors)
    print_false_alarms(alarms, arguments.detectors)
    if arguments.card is None:
        return
    card = json.loads(arguments.card.read_text())
    print_likelihood_ratios(pd.DataFrame(card["cllr_on_unseen_sources"]))
    print_verdicts(pd.DataFrame(card["verdicts_on_unseen"]))


def print_pairs(pairs: pd.DataFrame, title: str, detectors: list[str]) -> None:
    """Print the AUC of each pair for each detector and condition, and their means."""
    columns = [(detector, perturbation) for perturbation in CONDITIONS for detector in detectors]
    found = {(r.detector, r.perturbation, r.first, r.second): r for r in pairs.itertuples()}
    names = list(dict.fromkeys((r.first, r.second) for r in pairs.itertuples()))
    print_row([title, "photographs", "n", *(d + CONDITIONS[p] for d, p in columns)], header=True)
    for first, second in names:
        rows = [found[d, p, first, second] for d, p in columns]
        cells = [f"{row.auc:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in rows]
        print_row([first, second, f"{rows[0].n_first} + {rows[0].n_second}", *cells])
    kinds = {"mean": names}
    if any(RECONSTRUCTED in first for first, _ in names):
        made = [name for name in names if RECONSTRUCTED in name[0]]
        kinds = {"mean of the generators": [n for n in names if n not in made], "mean of the reconstructions": made}
    for kind, chosen in kinds.items():
        values = [[found[d, p, *name].auc for name in chosen] for d, p in columns]
        print_row([kind, "", "", *(f"{sum(v) / len(v):.2f}" for v in values)])
        print_row([f"{kind.replace('mean', 'range')}", "", "", *(f"{min(v):.2f} to {max(v):.2f}" for v in values)])
    print()


def print_false_alarms(alarms: pd.DataFrame, detectors: list[str]) -> None:
    """Print the share of each source's photographs that is called likely-fake."""
    print_row(["photographs", "n", *(f"likely-fake, {name}" for name in detectors)], header=True)
    clean = alarms[alarms.perturbation == "none"]
    for source, rows in clean.groupby("real"):
        by = {row.detector: row for row in rows.itertuples()}
        cells = [f"{by[d].rate:.1%} [{by[d].low:.1%}, {by[d].high:.1%}]" for d in detectors]
        print_row([str(source), str(by[detectors[0]].n), *cells])
    print()


def print_changes(alarms: pd.DataFrame, results: pd.DataFrame, detectors: list[str]) -> None:
    """Print, for each change of the pictures, the photographs that are called likely-fake, and the AUC.

    In brackets is the share of the source with the largest share.
    """
    auc = results[(results.metric == "auc") & (results.real == "all")]
    print_row(["change", *(f"likely-fake, {d}" for d in detectors), *(f"AUC, {d}" for d in detectors)], header=True)
    for change, rows in alarms.groupby("perturbation", sort=False):
        cells = []
        for detector in detectors:
            own = rows[rows.detector == detector]
            worst = own.loc[own.rate.idxmax()]
            where = f" ({worst.rate:.1%} of {worst.real})" if worst.called else ""
            cells.append(f"{own.called.sum()} of {own.n.sum()}{where}")
        for detector in detectors:
            row = auc[(auc.detector == detector) & (auc.perturbation == change)].iloc[0]
            cells.append(f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]")
        print_row([str(change), *cells])
    print()


def print_likelihood_ratios(unseen: pd.DataFrame) -> None:
    """Print the Cllr of each generator that was left out, as the mean over the sources that were left out."""
    print_row(["generator left out, mean over the sources left out", "Cllr", "Cllr_min"], header=True)
    for generator, rows in unseen.groupby("generator"):
        print_row([str(generator), f"{rows.cllr.mean():.2f}", f"{rows.cllr_min.mean():.2f}"])
    print_row(["mean", f"{unseen.cllr.mean():.2f}", f"{unseen.cllr_min.mean():.2f}"])
    print(
        f"largest Cllr {unseen.cllr.max():.2f}, mean of Cllr - Cllr_min {(unseen.cllr - unseen.cllr_min).mean():.2f}\n"
    )


def print_verdicts(verdicts: pd.DataFrame) -> None:
    """Print the share of each verdict for each set of pictures."""
    names = ("likely-fake", "inconclusive", "likely-real")
    print_row(["pictures", "n", *names], header=True)
    for source, rows in verdicts.groupby("source"):
        shares = dict(zip(rows.verdict, rows.share, strict=True))
        print_row([str(source), str(rows.n.iloc[0]), *(f"{shares.get(name, 0.0):.0%}" for name in names)])


def print_row(cells: list[str], *, header: bool = False) -> None:
    """Print one row of a Markdown table."""
    print(f"| {' | '.join(cells)} |")
    if header:
        print("|" + "---|" * len(cells))


if __name__ == "__main__":
    main()
