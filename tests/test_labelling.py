from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from PIL import Image as Pillow

from detector import containers, labelling
from detector.errors import MissingExtra, UnsupportedFormat
from detector.evidence import CHECKS, make_exhibit
from detector.files import sha256
from detector.fingerprints import read_fingerprints
from detector.images import decode, encode
from detector.learning import load_pictures
from detector.manifest import COLUMNS
from detector.types import Outcome

KINDS = ["JPEG", "PNG", "WEBP"]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path / "home"))


def label(data: bytes, **changes: object) -> bytes:
    return labelling.label_file(data, **{"generator": "style", "seed": 7, "checkpoint": "abc", **changes})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [47, 48])
def test_pixels_stay_and_the_labels_are_read_by_others(kind: str, size: int, tmp_path: Path) -> None:
    data = encode(draw_picture(1, size=size), kind)
    labelled = label(data)
    assert np.array_equal(decode(labelled), decode(data))
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(labelled)
    with Pillow.open(path) as picture:
        packet = picture.info["xmp"]
        assert picture.format == kind
    text = packet.decode() if isinstance(packet, bytes) else packet
    root = ElementTree.fromstring(text[text.index("<x:") : text.index("<?xpacket end")])
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert [n.get(name) for n in root.iter() if n.get(name)] == [labelling.SOURCE_TYPE]
    assert containers.extent(labelled).end == len(labelled)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_data_stays_byte_for_byte(kind: str) -> None:
    data = encode(draw_picture(1), kind)
    names = {"JPEG": ("DQT", "SOF0", "DHT", "SOS"), "PNG": ("IHDR", "IDAT"), "WEBP": ("VP8 ",)}[kind]

    def kept(file: bytes) -> list[bytes]:
        return [p.payload for p in containers.parts(file) if p.name in names]

    assert kept(label(data)) == kept(data) != []
    if kind == "JPEG":
        assert label(data).endswith(data[-200:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_label_replaces_the_first(kind: str) -> None:
    once = labelling.insert_xmp(encode(draw_picture(1), kind), labelling.xmp_packet("one", 1, "a"))
    twice = labelling.insert_xmp(once, labelling.xmp_packet("two", 2, "b"))
    assert twice.count(b"<x:xmpmeta") == 1
    assert "generator two" in containers.xmp(twice)
    assert len(twice) == len(once)


def test_attack_in_a_name_stays_text() -> None:
    packet = labelling.xmp_packet('"/><evil a="', 1, "<&>'\"")
    ElementTree.fromstring(packet.decode().split("?>", 1)[1].rsplit("<?", 1)[0])


def test_other_formats_are_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="JPEG, PNG, WEBP"):
        label(encode(draw_picture(1), "GIF"))


@pytest.mark.parametrize("kind", KINDS)
def test_verify_recognises_what_was_labelled(kind: str) -> None:
    pytest.importorskip("c2pa")
    labelled = label(encode(draw_picture(1, size=128), kind))
    exhibit = make_exhibit(labelled, Path("x"))
    found = {name: CHECKS.get(name)(exhibit) for name in ("metadata", "provenance", "duplicates")}
    assert {f.outcome for f in found.values()} == {Outcome.SUPPORTS_FAKE}
    assert found["provenance"].details["state"] == "valid-untrusted"
    assert found["duplicates"].details["match"]["exact"] is True
    root = labelling.home() / "certificate" / "root.pem"
    assert CHECKS.get("provenance")(exhibit, trust=root).details["state"] == "trusted"


def test_registry_gets_one_line_a_file() -> None:
    data = [encode(draw_picture(seed), "PNG") for seed in (1, 2)]
    files = [label(d, seed=seed) for seed, d in enumerate(data)]
    assert [(p.sha256, p.seed, p.generator, p.checkpoint) for p in read_fingerprints()] == [
        (sha256(file), seed, "style", "abc") for seed, file in enumerate(files)
    ]


def test_the_local_signer_is_made_once_and_its_key_is_private() -> None:
    pytest.importorskip("cryptography")
    first, second = labelling.local_signer(), labelling.local_signer()
    assert first == second
    folder = labelling.home() / "certificate"
    assert stat.S_IMODE((folder / "signer.pem").stat().st_mode) == 0o600
    assert sorted(p.name for p in folder.iterdir()) == ["root.pem", "signer.pem"]
    assert b"PRIVATE" not in (folder / "root.pem").read_bytes() + first.chain
    assert first.chain.endswith((folder / "root.pem").read_bytes())


def test_a_certificate_that_c2pa_refuses_is_one_sentence() -> None:
    pytest.importorskip("c2pa")
    good = labelling.local_signer()
    with pytest.raises(UnsupportedFormat, match="will not sign"):
        label(encode(draw_picture(1)), signer=labelling.Signer(b"nothing", good.key))


def test_without_the_extra_the_xmp_label_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = labelling.Signer(b"", b"")
    monkeypatch.setattr(labelling, "has_c2pa", lambda: False)
    labelled = label(encode(draw_picture(1)))
    assert "trainedAlgorithmicMedia" in containers.xmp(labelled)
    with pytest.raises(MissingExtra, match=r"\[evidence\]"):
        label(encode(draw_picture(1)), signer=signer)


def test_labels_do_not_reach_training(tmp_path: Path) -> None:
    plain = encode(draw_picture(1), "PNG")
    rows = []
    for name, data in (("plain", plain), ("labelled", label(plain))):
        (tmp_path / f"{name}.png").write_bytes(data)
        rows.append((str(tmp_path / f"{name}.png"), sha256(data), 1, "style", "drawn", name, "train", "ours"))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    one, two = load_pictures(table, 32, tmp_path / "cache")
    assert np.array_equal(one, two)


def test_importing_it_imports_neither_c2pa_nor_torch() -> None:
    code = (
        "import sys, json, detector.labelling\n"
        "print(json.dumps(sorted({'c2pa', 'cryptography', 'torch'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
