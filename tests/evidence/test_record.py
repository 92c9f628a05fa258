from __future__ import annotations

import base64
import json
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, run_inside
from PIL import Image as Pillow

from detector import detectors, tasks
from detector.dataset.embedded import unpack_faces
from detector.errors import DetectorError
from detector.evidence.checks import detector as detector_check
from detector.evidence.checks import read_reference
from detector.evidence.checks.detector import map_scores
from detector.evidence.folders import summarise
from detector.evidence.record import SCHEMA, conclude, examine, find_declaration, make_schema
from detector.evidence.rendering import draw_pictures, list_details, make_markdown, make_page
from detector.evidence.validation import describe_validation, summarise_validation
from detector.pictures.faces import Face, face_square, prepare, too_small
from detector.pictures.fingerprints import perceptual_hash
from detector.pictures.images import decode, decode_picture, encode, load
from detector.pictures.labelling import insert_xmp, xmp_packet
from detector.scoring import engine
from detector.scoring.checkpoint import SHIPPED, digest_checkpoint
from detector.scoring.targets import Target
from detector.statistics.calibration import fit_calibration
from detector.types import Decoded, Exhibit, Finding, Images, Opinion, Outcome, Scores

ATTACK = "<script>alert(1)</script>&\"'"


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a photograph of one face, large enough to be judged, whose metadata attacks the page."""
    folder = tmp_path_factory.mktemp("photograph")
    source = load(unpack_faces(folder / "orl").path.iloc[0])
    path = folder / "a <b>photograph.jpg"
    exif = Pillow.Exif()
    exif[0x010F] = ATTACK
    Pillow.fromarray(source).resize((368, 448), Pillow.Resampling.BICUBIC).save(path, quality=90, exif=exif)
    return path


@pytest.fixture(scope="module")
def case(photograph: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Return a folder of evidence on the photograph, a blob without a face and a file of noise, and its rows."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "blob.png").write_bytes(encode(draw_picture(0, size=100)))
    (folder / "noise.jpg").write_bytes(np.random.default_rng(0).bytes(5000))
    inputs = [photograph, folder / "blob.png", folder / "noise.jpg", folder / "absent.jpg"]
    return folder / "out", tasks.verify(inputs, folder / "out", case=ATTACK, examiner="Ä. B.")


def read_record(case: tuple[Path, list[dict[str, Any]]], name: str) -> dict[str, Any]:
    out, rows = case
    row = next(row for row in rows if row["name"].endswith(name))
    record: dict[str, Any] = json.loads((out / row["folder"] / "report.json").read_text())
    return record


def test_every_readable_file_gets_a_valid_record_and_the_others_a_reason(case: tuple[Path, Any]) -> None:
    out, rows = case
    assert len(rows) == 4
    for row in rows:
        assert (row["opinion"] == "error") == bool(row["error"]) == row["name"].endswith(("absent.jpg", "noise.jpg"))
        if not row["folder"]:
            assert row["name"].endswith("absent.jpg")
            assert "unreadable: No such file" in row["statement"]
            continue
        folder = out / row["folder"]
        jsonschema.validate(json.loads((folder / "report.json").read_text()), json.loads(SCHEMA.read_text()))
        assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")
        assert "# Evidence report" in (folder / "report.md").read_text()


@pytest.mark.parametrize(("declared", "opinion"), [(False, "error"), (True, "declared-generated")])
def test_a_damaged_exhibit_has_a_report_and_status_3_also_when_it_is_repeated(
    photograph: Path, tmp_path: Path, declared: bool, opinion: str
) -> None:
    data = photograph.read_bytes()
    data = insert_xmp(data, xmp_packet("style", 1, "none")) if declared else data
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    for _ in range(2):
        done = run_inside("verify", photograph, "cut.jpg", "-o", "out", cwd=tmp_path)
        assert done.returncode == 3
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("cut.jpg"))
        assert line.split()[1] == opinion
        assert "It cannot be decoded (damaged: " in line
    assert sorted(path.parent.name[:3] for path in tmp_path.glob("out/*/report.pdf")) == ["a_b", "cut"]
    assert run_inside("verify", "--check", "out", cwd=tmp_path).returncode == 0


def test_the_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text() == make_schema()


def test_the_face_carries_a_bounded_ratio(case: tuple[Path, Any]) -> None:
    record = read_record(case, "photograph.jpg")
    conclusion = record["conclusion"]
    low, high = conclusion["bounds"]
    assert low <= conclusion["log10_lr"] <= high
    assert conclusion["in_domain"]
    ratio = 10 ** conclusion["log10_lr"]
    for row in conclusion["posteriors"]:
        odds = row["prior"] / (1 - row["prior"]) * ratio
        assert row["posterior"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    assert not re.search(r"\b(fake|real)\b", conclusion["statement"])


@pytest.mark.parametrize("name", ["blob.png", "noise.jpg"])
def test_a_picture_without_a_face_gets_no_opinion(case: tuple[Path, Any], name: str) -> None:
    conclusion = read_record(case, name)["conclusion"]
    assert conclusion["opinion"] == "not-applicable"
    assert conclusion["log10_lr"] is None
    assert conclusion["statement"].startswith("No opinion")
    assert not conclusion["in_domain"]


def test_text_from_files_is_escaped(case: tuple[Path, Any]) -> None:
    out, _ = case
    for page in [out / "index.html", *out.glob("*/report.html")]:
        text = page.read_text()
        assert "<script" not in text
        assert "photograph.jpg" not in text or "<b>photograph" not in text
    assert ATTACK.partition("&")[0] in json.dumps(read_record(case, "photograph.jpg"), ensure_ascii=False)


def test_the_page_needs_no_other_file(case: tuple[Path, Any]) -> None:
    for page in case[0].glob("**/*.html"):
        assert not re.search(r'(?:src|href)="(?!data:|[\w.-]+/report\.html)', page.read_text())


def test_the_same_file_gives_the_same_record_but_for_the_time(photograph: Path, tmp_path: Path) -> None:
    records = []
    for name in ("one", "two"):
        row = tasks.verify([photograph], tmp_path / name)[0]
        record = json.loads((tmp_path / name / row["folder"] / "report.json").read_text())
        records.append({k: v for k, v in record.items() if k not in ("made", "sha256")})
    assert records[0] == records[1]


def test_a_second_run_keeps_the_first_report(photograph: Path, tmp_path: Path) -> None:
    first = tasks.verify([photograph], tmp_path)
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert tasks.verify([photograph], tmp_path) == first
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == kept


def test_verifying_opens_no_connection(photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert tasks.verify([photograph], tmp_path)[0]["folder"]


def test_a_list_of_known_pictures_is_used(photograph: Path, tmp_path: Path) -> None:
    from detector.files import sha256

    known = tmp_path / "known.csv"
    known.write_text(f"sha256,label\n{sha256(photograph.read_bytes())},fake\n")
    assert tasks.verify([photograph], tmp_path / "out", known=known)[0]["others"] == ["duplicates"]
    known.write_text("sha256\nnothing\n")
    with pytest.raises(DetectorError, match=r"known.csv, line 2"):
        tasks.verify([photograph], tmp_path / "other", known=known)
    assert not (tmp_path / "other").exists()


def test_bounds_that_meet_give_no_ratio_and_the_report_is_written_all_the_same(case: tuple[Path, Any]) -> None:
    from detector.evidence.pdf import make_pdf
    from detector.evidence.record import FindingRecord

    record = read_record(case, "photograph.jpg")
    findings = [FindingRecord(**f) for f in record["findings"]]
    face = findings[0].details["faces"][0]
    face |= {"opinion": "likely-fake", "log10_lr": 0.0, "interval": [0.0, 0.0], "stability": {"kept": 5}}
    calibration = fit_calibration(np.r_[np.linspace(-3, 1, 50), np.linspace(-1, 3, 50)], np.repeat([0, 1], 50))
    conclusion = conclude(findings, replace(calibration, low=0.0, high=0.0))
    assert conclusion.opinion == "likely-fake"
    assert "differ too much" in conclusion.statement
    record["conclusion"] = conclusion.model_dump(mode="json")
    flat = [[0.0, 1.0], [0.0, 0.0]]
    record["backing"]["validation"]["tippett"] = {"H1": flat, "H2": flat}
    assert "nothing to plot" in make_page(record, [])
    assert make_pdf(record, []).startswith(b"%PDF-")
    assert "none" in make_markdown(record)


def test_a_failing_check_is_reported_and_a_damaged_list_is_an_error() -> None:
    from detector.evidence.record import _run

    exhibit = Exhibit(Path("x.jpg"), b"", "0" * 64, None)

    def fail(error: Exception) -> Finding:
        raise error

    finding = _run("plug-in", lambda _: fail(TypeError("no")), exhibit)
    assert (finding.outcome, finding.summary) == (Outcome.NOT_APPLICABLE, "This check failed: TypeError.")
    with pytest.raises(DetectorError):
        _run("duplicates", lambda _: fail(DetectorError("not a list")), exhibit)


def test_a_declaration_decides_before_the_detector(photograph: Path, tmp_path: Path) -> None:
    """IPTC's source type in XMP decides, with a face and without one, comes first in the queue, and fails --fail-on."""
    from typer.testing import CliRunner

    from detector.cli import app

    marked = tmp_path / "marked.jpg"
    marked.write_bytes(insert_xmp(photograph.read_bytes(), xmp_packet("style", 1, "x")))
    blob = tmp_path / "blob.jpg"
    blob.write_bytes(insert_xmp(encode(draw_picture(0, size=100), "JPEG"), xmp_packet("style", 1, "x")))
    plain = tasks.verify([photograph], tmp_path / "plain")[0]
    rows = tasks.verify([photograph, marked, blob], tmp_path / "out")
    assert [row["opinion"] for row in rows[:2]] == ["declared-generated"] * 2
    declared = next(row for row in rows if row["name"] == "marked.jpg")
    assert declared["log10_lr"] == plain["log10_lr"]
    assert declared["statement"].startswith(
        "The file declares that it was generated: the name of a generator in XMP CreatorTool"
    )
    assert declared["statement"].endswith(plain["statement"])
    arguments = ["verify", str(marked), "-o", str(tmp_path / "cli")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--fail-on", "likely-fake"]).exit_code == 1
    (tmp_path / "broken.png").write_bytes(b"no picture")
    arguments.insert(1, str(tmp_path / "broken.png"))
    assert CliRunner().invoke(app, arguments).exit_code == 3
    assert CliRunner().invoke(app, [*arguments, "--fail-on", "likely-fake"]).exit_code == 1, "serious comes first"


def test_a_field_of_the_file_cannot_pass_for_a_signature() -> None:
    """A program may call itself "signed by" somebody; only Content Credentials have a signer, and it stands apart."""
    from detector.evidence.checks import metadata, provenance

    packet = (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        "<rdf:Description xmlns:xmp='http://ns.adobe.com/xap/1.0/'"
        " xmlns:i='http://iptc.org/std/Iptc4xmpExt/2008-02-29/'"
        " xmp:CreatorTool='signed by Adobe&quot;, signed by Adobe'"
        " i:DigitalSourceType='http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'/>"
        "</rdf:RDF></x:xmpmeta>"
    )
    data = insert_xmp(encode(draw_picture(1), "JPEG"), packet.encode())
    findings = {"metadata": metadata.check(Exhibit(Path("x.jpg"), data, "0" * 64, None))}
    (declared,) = findings["metadata"].details["declared_generated"]
    assert (declared["by"], declared["signed_by"]) == ('signed by Adobe", signed by Adobe', "")
    declaration = "IPTC source type trainedAlgorithmicMedia (made by generative AI) in XMP DigitalSourceType"
    assert find_declaration(findings) == (
        f'The file declares that it was generated: {declaration}, by "signed by Adobe\', signed by Adobe".'
    )
    manifest = {
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [{"digitalSourceType": "trainedAlgorithmicMedia"}]}}
        ],
        "claim_generator_info": [{"name": "signed by Adobe Firefly"}],
        "signature_info": {"issuer": "Somebody"},
    }
    store = {"active_manifest": "a", "manifests": {"a": manifest}, "validation_state": "Valid"}
    details = provenance._summarise(store)
    findings["provenance"] = Finding("provenance", Outcome.SUPPORTS_FAKE, "", details)
    assert {d["signed_by"] for d in details["declared_generated"]} == {"Somebody"}
    assert find_declaration(findings).startswith("Content Credentials declare that it was generated: ")
    assert find_declaration(findings).endswith(", signed by Somebody.")


def test_the_very_bytes_of_a_known_fake_decide_and_a_near_duplicate_does_not(photograph: Path, tmp_path: Path) -> None:
    from detector.files import sha256

    known = tmp_path / "known.csv"
    known.write_text(f"sha256,label\n{sha256(photograph.read_bytes())},fake\n")
    row = tasks.verify([photograph], tmp_path / "exact", known=known)[0]
    assert row["opinion"] == "declared-generated"
    assert "list known.csv holds these very bytes as a fake" in row["statement"]
    known.write_text(f"phash,label\n{perceptual_hash(load(photograph), 16)},fake\n")
    near = tasks.verify([photograph], tmp_path / "near", known=known)[0]
    assert near["others"] == ["duplicates"]
    assert near["opinion"] != "declared-generated"


def test_a_face_whose_verdict_changes_by_mild_recompression_gets_no_opinion(case: tuple[Path, Any]) -> None:
    from detector.evidence.record import FindingRecord

    findings = [FindingRecord(**f) for f in read_record(case, "photograph.jpg")["findings"]]
    face = findings[0].details["faces"][0]
    calibration = fit_calibration(np.r_[np.linspace(-3, 1, 50), np.linspace(-1, 3, 50)], np.repeat([0, 1], 50))
    for kept, opinion in ((5, "likely-fake"), (3, "likely-fake"), (2, "inconclusive")):
        face |= {"opinion": "likely-fake", "log10_lr": 1.2, "stability": {"kept": kept}}
        assert conclude(findings, calibration).opinion == opinion
    assert conclude(findings, None).log10_lr is None


def test_a_face_of_a_size_that_few_sources_have_gets_no_opinion(case: tuple[Path, Any]) -> None:
    from detector.evidence.record import FindingRecord

    findings = [FindingRecord(**f) for f in read_record(case, "photograph.jpg")["findings"]]
    face = findings[0].details["faces"][0]
    face |= {"opinion": "likely-fake", "log10_lr": 1.2, "stability": {"kept": 5}, "crop": [10, 10, 310, 310]}
    calibration = fit_calibration(np.r_[np.linspace(-3, 1, 50), np.linspace(-1, 3, 50)], np.repeat([0, 1], 50))
    for domain, opinion in (
        ({"one": [100, 400], "two": [600, 600]}, "likely-fake"),
        ({"one": [100, 400], "two": [601, 900]}, "inconclusive"),
        ({"one": [100, 400]}, "inconclusive"),
        (None, "likely-fake"),
    ):
        conclusion = conclude(findings, calibration, domain)
        assert conclusion.opinion == opinion
        assert conclusion.in_domain == (opinion == "likely-fake")
        if domain is not None and opinion == "inconclusive":
            assert "300 pixels" in conclusion.statement


class Brightness:
    """A detector whose score is the brightness of a face."""

    name, size, locates = "brightness", 16, True

    def __init__(self) -> None:
        raw = np.r_[np.linspace(-4, 1, 99), np.linspace(-1, 4, 99)]
        self.calibration = fit_calibration(raw, np.repeat([0, 1], 99))

    def score(self, faces: Images) -> Scores:
        return faces.mean((1, 2, 3), dtype=np.float64) / 16 - 8

    def judge(self, scores: Scores) -> list[Opinion]:
        return [
            Opinion.LIKELY_FAKE if s > 4 else Opinion.LIKELY_REAL if s < -4 else Opinion.INCONCLUSIVE for s in scores
        ]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Exhibit:
    """Return a picture of three faces: a dark and large one, a bright and smaller one, a bright one too small."""
    image, found = np.zeros((200, 600, 3), np.uint8), []
    for i, (brightness, width) in enumerate([(20, 100), (220, 60), (250, 39)]):
        image[:, 200 * i : 200 * (i + 1)] = brightness
        left, top = 200 * i + 100 - width // 2, 100 - width // 2
        box = (left, top, left + width, top + width)
        found.append(Face(box, face_square(box, image.shape), 0, too_small(box)))
    monkeypatch.setattr(detector_check, "find_faces", lambda image: found)
    return Exhibit(Path("group.png"), encode(image), "0" * 64, Decoded(image, 600, 200))


def test_the_most_suspicious_face_decides_and_its_box_is_named(group: Exhibit) -> None:
    detector = Brightness()
    findings = examine(group, detector)
    faces = findings[0].details["faces"]
    assert [face["box"] for face in faces] == [[270, 70, 330, 130], [50, 50, 150, 150], [481, 81, 520, 120]]
    assert [face["opinion"] for face in faces] == ["likely-fake", "likely-real", "inconclusive"]
    assert "Most suspicious of 3 faces, at 270 70 330 130: score +5.75, likely-fake" in findings[0].summary
    conclusion = conclude(findings, detector.calibration)
    assert conclusion.opinion == "likely-fake"
    assert conclusion.log10_lr == faces[0]["log10_lr"] > 0
    assert conclusion.statement.endswith("the most suspicious of 3 faces, at 270 70 330 130.")
    record = {"findings": [f.model_dump() for f in findings],
              "exhibit": {"path": "group.png", "width": 600, "height": 200},
              "conclusion": conclusion.model_dump()}  # fmt: skip
    shown = decode(draw_pictures(record, group.image)[1].jpeg)
    assert abs(shown.mean() - 220) < 4
    assert abs(decode(base64.b64decode(summarise(record, group.image)["jpeg"])).mean() - 220) < 4


def test_a_statement_is_whole_sentences(group: Exhibit) -> None:
    findings = examine(group, Brightness())
    findings[0].details["faces"].reverse()
    assert ". The face is 39 pixels wide, less than 40." in conclude(findings, Brightness().calibration).statement


def test_the_rule_is_that_of_the_scores(group: Exhibit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_faces", detector_check.find_faces)
    (tmp_path / "group.png").write_bytes(group.bytes)
    ((judged,),) = engine.score_pictures([Target(str(tmp_path / "group.png"))], Brightness())
    face = examine(group, Brightness())[0].details["faces"][0]
    assert judged.row.verdict == face["opinion"] == "likely-fake"
    assert judged.row.score == pytest.approx(face["score"], abs=1e-3)
    assert " ".join(map(str, face["box"])) in judged.row.reason


def test_more_faces_than_are_described_are_all_judged(group: Exhibit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_check, "FACES", 1)
    details = examine(group, Brightness())[0].details
    assert [face["box"] for face in details["faces"]] == [[270, 70, 330, 130]]
    assert details["located"] == 3


def test_a_crop_that_a_manifest_gives_is_the_face(group: Exhibit) -> None:
    details = examine(replace(group, crop=(0, 0, 200, 200)), Brightness())[0].details
    assert [(face["box"], face["score"]) for face in details["faces"]] == [([0, 0, 200, 200], -6.75)]


def test_a_manifest_is_verified_by_its_crops(photograph: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"path": [str(photograph)], "label": [0], "crop": [""]})
    boxes = []
    for crop in ("", "20 30 320 330", "20 30 320 330"):
        table.assign(crop=crop).to_csv(tmp_path / "manifest.csv", index=False)
        row = tasks.verify([tmp_path / "manifest.csv"], tmp_path / "out")[0]
        record = json.loads((tmp_path / "out" / row["folder"] / "report.json").read_text())
        face = next(f for f in record["findings"] if f["check"] == "detector")["details"]["faces"][0]
        boxes.append(face["crop"])
    assert boxes[0] != [20, 30, 320, 330]
    assert boxes[1:] == [[20, 30, 320, 330]] * 2


def test_a_face_that_lies_on_its_side_is_judged_and_shown_upright(
    photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, upright = Brightness(), load(photograph)
    lying = np.ascontiguousarray(np.rot90(upright))
    crop, shape = (10, 60, 310, 360), upright.shape
    side = (crop[1], shape[1] - crop[2], crop[3], shape[1] - crop[0])
    monkeypatch.setattr(detector_check, "find_faces", lambda image: [Face(side, side, turns=3)])
    findings = examine(Exhibit(photograph, b"", "0" * 64, Decoded(lying, *lying.shape[1::-1])), detector)
    face = findings[0].details["faces"][0]
    assert (face["box"], face["turns"]) == (list(side), 3)
    record = {
        "findings": [f.model_dump() for f in findings],
        "exhibit": {"width": lying.shape[1], "height": lying.shape[0]},
    }
    shown = decode(draw_pictures(record, lying)[1].jpeg)
    assert np.abs(shown.astype(int) - prepare(upright, len(shown), crop)).mean() < 3


def test_the_score_map_agrees_with_the_score() -> None:
    """Its mean over one undisplaced crop is the score; the network's own pooling says so."""
    _, detector = detectors.load_detector(SHIPPED / "default")
    faces = np.stack([draw_picture(i, size=detector.size) for i in range(3)])
    maps: Any = detector.explain(faces)  # type: ignore[attr-defined]
    np.testing.assert_allclose(maps.mean((1, 2)), detector.score(faces), atol=1e-3)


def test_the_score_map_finds_what_was_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that scores brightness: the map is brightest where the picture is, also after the displacements."""

    class Bright:
        size, explains = 64, True

        def explain(self, faces: Any) -> Any:
            return faces[..., 0].reshape(len(faces), 8, 8, 8, 8).mean((2, 4)) / 255.0

    image = np.zeros((200, 200, 3), np.uint8)
    image[100:200, 0:100] = 255
    found = map_scores(image, (0, 0, 200, 200), Bright())  # type: ignore[arg-type]
    assert found is not None
    assert found[20:28, 4:12].min() > 0.9
    assert found[4:12].max() < 0.1


def test_the_summary_of_a_validation_is_counted_from_its_scores() -> None:
    rng = np.random.default_rng(0)
    raw, labels = np.r_[rng.normal(-2, 1, 400), rng.normal(2, 1, 400)], np.repeat([0, 1], 400)
    calibration = fit_calibration(raw, labels)
    scores = pd.DataFrame({"generator": [""] * 400 + ["a"] * 200 + ["b"] * 200, "score": calibration.log_odds(raw)})
    found = summarise_validation(scores, calibration)
    assert found["real"] == 400
    assert found["fake"] == {"a": 200, "b": 200}
    assert found["false_alarms"] == [int((scores.score[:400] > calibration.fake_above).sum()), 400]
    assert 0 <= found["cllr"] - found["cllr_min"] < 0.05
    for name, value in (("cllr", found["cllr"]), ("false_alarms", found["false_alarms"][0] / 400)):
        low, high = found["intervals"][name]
        assert low <= value <= high
    related = summarise_validation(scores.assign(group=np.arange(800) // 100), calibration)
    assert np.ptp(related["intervals"]["cllr"]) > np.ptp(found["intervals"]["cllr"])
    assert f"Cllr {found['cllr']:.3f} [{found['intervals']['cllr'][0]:.3f}" in describe_validation(found)
    without = {name: value for name, value in found.items() if name != "intervals"}  # of a card from before
    assert "[" not in describe_validation(without)
    assert found["roc"][0][0] <= 0.01
    assert found["roc"][-1] == [1, 1]


def test_a_very_large_jpeg_is_reported_in_its_own_pixels(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decoded at half its size, and the boxes of the record are those of the file."""
    whole = tasks.verify([photograph], tmp_path / "whole")[0]
    monkeypatch.setattr(
        "detector.evidence.checks.decode_picture", lambda data: decode_picture(data, max_pixels=368 * 448 // 4)
    )
    half = tasks.verify([photograph], tmp_path / "half")[0]
    first, second = (
        json.loads((tmp_path / name / row["folder"] / "report.json").read_text())
        for name, row in (("whole", whole), ("half", half))
    )
    assert second["exhibit"] == first["exhibit"]
    assert (second["exhibit"]["width"], second["exhibit"]["height"]) == (368, 448)
    details = [{f["check"]: f["details"] for f in record["findings"]} for record in (first, second)]
    assert details[1]["file"]["decoded_at"] == [184, 224]
    for key in ("box", "crop"):
        assert np.abs(np.subtract(*(found["detector"]["faces"][0][key] for found in details))).max() < 12


def test_details_are_flattened_for_reading() -> None:
    rows = dict(list_details({"a_b": {"c": None, "d": [1, 2]}, "e": [{"f": True}, {"f": False}], "g": [[1], [2]]}))
    assert rows == {"a b.c": "none", "a b.d": "1, 2", "e 1.f": "yes", "e 2.f": "no", "g": "2 rows, in the record"}


def test_the_renderings_take_the_record_alone(case: tuple[Path, Any]) -> None:
    record = read_record(case, "photograph.jpg")
    assert record["sha256"] in make_page(record, [])
    assert record["sha256"] in make_markdown(record)


def test_a_ratio_at_the_bound_is_stated_as_at_least(case: tuple[Path, Any]) -> None:
    record = read_record(case, "photograph.jpg")
    top = 1.79
    record["conclusion"] |= {"log10_lr": top, "interval": [top, top], "bounds": [-1.0, top]}
    for text in (make_page(record, []), make_markdown(record)):
        assert f"at least {top:+.2f}" in text
        assert f"[{top:.2f}, {top:.2f}]" not in text


def test_a_check_never_raises_on_an_empty_exhibit() -> None:
    _, detector = detectors.load_detector(None)
    found = examine(Exhibit(Path("x"), b"", "0" * 64, None), detector)
    assert {f.outcome.value for f in found} <= {"not-applicable", "neutral"}


def test_the_false_alarms_of_the_checks_are_those_of_the_shipped_weights() -> None:
    """`benchmarks/false_alarms.py` has to run again whenever the weights change."""
    assert read_reference()["detector"]["weights"] == digest_checkpoint(SHIPPED / "default")
