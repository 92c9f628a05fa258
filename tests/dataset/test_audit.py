"""The audit of whole sets: shortcuts and leaks planted alone, and sets without any."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest
from PIL import Image as Pillow
from PIL import ImageFilter

from detector.dataset.audit import audit, mend
from detector.dataset.families import FAMILIES
from detector.dataset.findings import AuditFinding, Severity
from detector.dataset.leaks import find_imbalances, find_one_sided
from detector.dataset.manifest import COLUMNS, assign_splits, merge, validate
from detector.dataset.reencoding import balance, reencode
from detector.errors import ManifestError
from detector.files import sha256
from detector.pictures.images import decode, encode, load
from detector.types import Image

Saver = Callable[[Image, bool, int], bytes]
N = 50  # of each class


@functools.cache
def face(i: int, size: int = 64) -> Image:
    """A random picture with the 1/f spectrum of natural pictures, soft colours and grain."""
    rng = np.random.default_rng(i)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)) + 1 / size
    planes = np.fft.ifft2(np.exp(2j * np.pi * rng.random((3, size, size))) / radius**1.5).real
    light, red, blue = planes / planes.std((1, 2), keepdims=True)
    image = 130 + 40 * light[..., None] + 12 * np.stack([red, -red, blue], -1) + rng.normal(0, 2, (size, size, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def jpeg(image: Image, fake: bool, i: int) -> bytes:
    return encode(image, "JPEG", quality=85)


def plant(folder: Path, save: Saver = jpeg, n: int = N) -> pd.DataFrame:
    """n photographs and n fakes of two generators, who differ by what `save` makes of the label alone."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(2 * n):
        fake = i % 2 == 1
        data = save(face(i), fake, i)
        path = folder / f"{i:03d}.bin"
        path.write_bytes(data)
        generator = ("one" if i % 4 == 1 else "two") if fake else ""
        rows.append((str(path), sha256(data), int(fake), generator, "drawn", f"g{i}", "train", "ours"))
    return assign_splits(pd.DataFrame(rows, columns=list(COLUMNS)), seed=0)


def severities(findings: list[AuditFinding]) -> dict[str, Severity]:
    return {finding.name: finding.severity for finding in findings}


def loud(findings: list[AuditFinding]) -> set[str]:
    return {finding.name for finding in findings if finding.severity is Severity.SERIOUS}


def as_png(image: Image, fake: bool, i: int) -> bytes:
    return encode(image, "PNG" if fake else "JPEG", quality=85)


def kept_as_png(image: Image, fake: bool, i: int) -> bytes:
    """Fakes that were JPEG too before somebody saved them as PNG."""
    data = jpeg(image, fake, i)
    return encode(decode(data)) if fake else data


def mixed_quality(image: Image, fake: bool, i: int) -> bytes:
    """Photographs between two qualities of fakes: no straight line tells them apart."""
    return encode(image, "JPEG", quality=85 if not fake else 70 if i % 4 == 1 else 95)


def smaller(image: Image, fake: bool, i: int) -> bytes:
    return encode(image[:60] if fake else image, "JPEG", quality=85)


def blurred(image: Image, fake: bool, i: int) -> bytes:
    if fake:
        image = np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(1)))
    return encode(image, "JPEG", quality=85)


def wedged(image: Image, fake: bool, i: int) -> bytes:
    if fake and i % 5:
        image = image * (np.add.outer(np.arange(64), 2 * np.arange(64)) > 24)[..., None].astype(np.uint8)
    return encode(image, "JPEG", quality=85)


def greyed(image: Image, fake: bool, i: int) -> bytes:
    return encode(image[..., :1].repeat(3, 2) if fake else image, "JPEG", quality=85)


@pytest.mark.parametrize(
    ("save", "name", "says"),
    [
        (as_png, "file format", "format JPEG in 100% of photographs and 0% of fakes"),
        (mixed_quality, "jpeg quality", "in photographs and"),
        (smaller, "picture size", "64 in photographs and 60 in fakes"),
        (blurred, "sharpness", "in photographs and"),
        (wedged, "black wedges", "wedge 0 in photographs"),
        (greyed, "colour", "in photographs and"),
    ],
)
def test_a_planted_shortcut_is_the_first_finding(tmp_path: Path, save: Saver, name: str, says: str) -> None:
    """Other findings that follow from the same shortcut come later."""
    finding = audit(plant(tmp_path, save))[0]
    assert (finding.name, finding.severity) == (name, Severity.SERIOUS)
    assert says in finding.summary or name == "jpeg quality"
    assert finding.fix
    assert len(finding.rows) > N / 2
    assert finding.low <= finding.value <= finding.high


def test_a_shortcut_of_one_generator_is_serious_in_a_header_and_a_note_in_pixels(tmp_path: Path) -> None:
    one = plant(tmp_path / "png", lambda image, fake, i: encode(image, "PNG" if i % 4 == 1 else "JPEG", quality=85))
    assert "file format" in loud(audit(one))
    two = plant(tmp_path / "blur", lambda image, fake, i: blurred(image, i % 4 == 1, i))
    assert severities(audit(two))["sharpness"] is Severity.NOTE


@pytest.mark.parametrize("n", [6, N])
def test_a_clean_set_has_no_finding(tmp_path: Path, n: int) -> None:
    steps: list[tuple[str, int, int]] = []
    findings = audit(plant(tmp_path, n=n), progress=lambda *step: steps.append(step))
    assert set(severities(findings).values()) == {Severity.OK}
    assert steps[-1] == ("measuring pictures", 2 * n, 2 * n)
    assert {family.name for family in FAMILIES} < set(severities(findings))


def test_leaks_between_splits_are_caught(tmp_path: Path) -> None:
    table = plant(tmp_path, n=20)
    held = table[table.split == "test"].head(4).index
    copied = table.loc[held].assign(split="train", group=["new0", "new1", "new2", "new3"])
    exact = audit(pd.concat([table, copied.head(1)], ignore_index=True))
    finding = next(f for f in exact if f.name == "twins across splits")
    assert loud(exact) == {"twins across splits"}
    assert finding.rows == (table.path[held[0]],)
    assert "1 of them exact" in finding.summary
    for row in copied.index:  # near: smaller, recompressed, a little darker
        small = Pillow.fromarray(load(copied.path[row])).resize((56, 56))
        data = encode((np.asarray(small) * 0.9).astype(np.uint8), "JPEG", quality=60)
        (tmp_path / f"near{row}.jpg").write_bytes(data)
        copied.loc[row, ["path", "sha256"]] = [str(tmp_path / f"near{row}.jpg"), sha256(data)]
    near = audit(pd.concat([table, copied], ignore_index=True))
    finding = next(f for f in near if f.name == "twins across splits")
    assert finding.severity is Severity.SERIOUS
    assert set(finding.rows) == set(copied.path)  # the twin in the earlier split gives way


def test_an_identity_in_two_splits_and_bytes_under_two_labels(tmp_path: Path) -> None:
    table = plant(tmp_path, n=20)
    torn = table.copy()
    train, test = (table.index[table.split == split][0] for split in ("train", "test"))
    torn.loc[[train, test], "group"] = "anna"
    findings = audit(torn)
    assert loud(findings) == {"groups across splits"}
    finding = findings[0]
    assert "anna" in finding.summary
    assert set(finding.rows) == {table.path[train], table.path[test]}
    both = pd.concat([table, table.iloc[[0]].assign(label=1, generator="one")], ignore_index=True)
    assert "two labels" in loud(audit(both))


def test_notes_on_twins_of_the_other_label_repeats_balance_and_unreadable_files(tmp_path: Path) -> None:
    table = plant(tmp_path, n=20)
    reals = table[(table.label == 0) & (table.split == "train")]
    forged = reals.head(5).copy()
    for row in forged.index:
        data = encode(load(forged.path[row]), "JPEG", quality=85, subsampling="4:4:4")
        (tmp_path / f"forged{row}").write_bytes(data)
        forged.loc[row, ["path", "sha256", "label", "generator", "group"]] = [
            str(tmp_path / f"forged{row}"), sha256(data), 1, "one", f"forged{row}"]  # fmt: skip
    again = forged.assign(label=0, generator="", group=forged.group + "again")
    Path(table.path[0]).write_bytes(b"not a picture")
    asked = pd.concat([table, forged, again.iloc[:0]], ignore_index=True).assign(
        mood=lambda t: t.label.map({0: "calm", 1: ""})
    )
    found = severities(audit(asked))
    assert found["twins across labels"] is Severity.NOTE
    assert found["balance by mood"] is Severity.NOTE
    assert found["unreadable"] is Severity.NOTE
    assert found["balance by split"] is Severity.OK
    assert severities(audit(pd.concat([table, again])))["repeats"] is Severity.NOTE


@pytest.mark.parametrize(("fakes", "uneven"), [(20, True), (45, False), (50, False), (55, False), (80, True)])
def test_a_split_with_too_few_fakes_is_as_uneven_as_one_with_too_many(fakes: int, uneven: bool) -> None:
    """100 pictures of a split among 1,000 of which half are fakes; 45 and 55 of 100 may be chance."""
    labels = [int(i < fakes) for i in range(100)] + [i % 2 for i in range(900)]
    splits = ["test"] * 100 + ["train"] * 900
    (found,) = find_imbalances(pd.DataFrame({"label": labels, "split": splits}))
    assert found.severity is (Severity.NOTE if uneven else Severity.OK)
    assert (f"test {fakes}% of 100" in found.summary) == uneven


def test_a_set_of_which_only_a_part_is_cropped_is_audited(tmp_path: Path) -> None:
    whole = make_manifest(tmp_path / "whole", n=4)
    cut = make_manifest(tmp_path / "cut", n=4, seed=1).assign(crop="0 0 32 32")
    table = merge([whole, cut])
    assert list(table.crop) == [""] * 8 + ["0 0 32 32"] * 8
    mixed = pd.concat([whole, cut], ignore_index=True)  # as it comes unchecked
    assert [f.name for f in audit(mixed)] == [f.name for f in audit(table)]


def test_mending_removes_every_leak(tmp_path: Path) -> None:
    table = plant(tmp_path / "a", kept_as_png)
    table.loc[table.index[:6], "group"] = "anna"
    twin = table[table.split == "test"].head(1).assign(split="train", group="new")
    wrong = table.iloc[[20]].assign(label=1, generator="one")
    broken = pd.concat([table, twin, wrong], ignore_index=True)
    Path(broken.path[30]).write_bytes(b"not a picture")
    findings = audit(broken)
    planted = {"file format", "header", "groups across splits", "twins across splits", "two labels"}
    assert planted <= loud(findings)
    mended = mend(broken, findings, seed=0)
    assert (mended.groupby("split").label.mean() == 0.5).all()
    assert len(mended) > 80
    fixed = reencode(mended, tmp_path / "fixed", size=64)
    assert set(severities(audit(fixed)).values()) == {Severity.OK}


def test_balance_draws_as_many_of_each_split_and_size(tmp_path: Path) -> None:
    table = plant(tmp_path, lambda image, fake, i: encode(image[:32, :32] if i % 5 == 0 else image, "JPEG"))
    lean = table.drop(table.index[(table.label == 1) & (table.generator == "two")][:20])
    kept = balance(lean, seed=3)
    sides = [load(path).shape[0] for path in kept.path]
    counts = kept.groupby(["split", pd.Series(sides), "label"]).size().unstack()
    assert (counts[0] == counts[1]).all()
    assert list(kept.path) == [p for p in lean.path if p in set(kept.path)]
    pd.testing.assert_frame_equal(kept, balance(lean, seed=3))
    validate(kept)
    scarce = balance(table.drop(table.index[table.label == 0][::2]), seed=0)
    fakes = scarce.generator[scarce.label == 1].value_counts()
    assert abs(fakes["one"] - fakes["two"]) <= 6  # one at most in each of the six splits and sizes
    apart = plant(tmp_path / "apart", lambda image, fake, i: encode(image[:30, :30] if fake else image))
    with pytest.raises(ManifestError, match="share no split and size"):
        balance(apart, seed=0)


def test_a_dataset_of_one_label_is_named(tmp_path: Path) -> None:
    table = make_manifest(tmp_path, n=4)
    assert find_one_sided(table).severity is Severity.OK
    assert find_one_sided(table.drop(columns="dataset")).severity is Severity.OK
    found = find_one_sided(table.assign(dataset=[f"set {i}" if i < 2 else "mixed" for i in range(8)]))
    assert (found.severity, found.value) == (Severity.NOTE, 0.25)
    assert "set 0 (photographs), set 1 (photographs)" in found.summary
    assert find_one_sided(table[table.label == 0]).severity is Severity.OK


def test_refusals(tmp_path: Path) -> None:
    table = plant(tmp_path, n=3)
    with pytest.raises(ManifestError, match="lacks the columns group, split"):
        audit(table.drop(columns=["group", "split"]))
    with pytest.raises(ManifestError, match="a label is neither"):
        audit(table.assign(label="fake"))
    with pytest.raises(ManifestError, match="not one of the 6 pictures can be read"):
        audit(table.assign(path="nowhere"))
    one_class = audit(table[table.label == 0])
    assert loud(one_class) == set()
