from __future__ import annotations

import datetime
import json
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from PIL import Image as Pillow

from detector import tasks
from detector.dataset.manifest import COLUMNS, read_manifest
from detector.errors import DetectorError, MissingExtra, UnsupportedFormat
from detector.evidence.checks import CHECKS, make_exhibit
from detector.evidence.checks.provenance import read_trust
from detector.files import sha256
from detector.learning.pixels import load_pictures
from detector.pictures import containers, labelling
from detector.pictures.fingerprints import perceptual_hash, read_fingerprints
from detector.pictures.images import decode, encode, load, resize
from detector.pictures.xmp import find_packets
from detector.tasks import making
from detector.types import Outcome

KINDS = ["JPEG", "PNG", "WEBP"]


def label(data: bytes, **changes: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        held = labelling.label_file(path, data, **{"generator": "style", "seed": 7, "checkpoint": "abc", **changes})
        assert path.read_bytes() == held
    return held


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
    assert "generator two" in "".join(find_packets(twice))
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
    assert CHECKS.get("provenance")(exhibit, trust=read_trust(root)).details["state"] == "trusted"


def test_a_picture_is_recognised_after_its_labels_and_bytes_are_gone() -> None:
    """Generated, labelled, saved anew without metadata: only the perceptual hash in the registry is left."""
    picture = resize(draw_picture(1, size=16), 128, 128)  # coarse grain, which a JPEG keeps
    labelled = label(encode(picture, "PNG"))
    assert [p.phash for p in read_fingerprints()] == [perceptual_hash(picture)]
    stripped = encode(decode(labelled), "JPEG", quality=85)
    found = CHECKS.get("duplicates")(make_exhibit(stripped, Path("x")))
    assert found.outcome is Outcome.SUPPORTS_FAKE
    match = found.details["match"]
    assert (match["exact"], match["mirrored"], match["generator"], match["seed"]) == (False, False, "style", 7)


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
    assert "trainedAlgorithmicMedia" in "".join(find_packets(labelled))
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


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return tasks.generate("style", 3, tmp_path_factory.mktemp("plain"), seed=5, label=False)


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_what_generate_writes_is_labelled_and_its_pixels_are_the_same(
    format: str, plain: pd.DataFrame, tmp_path: Path
) -> None:
    made = tasks.generate("style", 3, tmp_path / "out", seed=5, format=format)
    again = tasks.generate("style", 3, tmp_path / "plain", seed=5, format=format, label=False)
    for labelled, bare in zip(made.path, again.path, strict=True):
        assert np.array_equal(load(labelled), load(bare))
        assert labelling.SOURCE_TYPE in "".join(find_packets(Path(labelled).read_bytes()))
        assert labelling.SOURCE_TYPE.encode() not in Path(bare).read_bytes()
    read_manifest(tmp_path / "out" / "manifest.csv")
    assert made.sha256.tolist() == [sha256(Path(p).read_bytes()) for p in made.path]
    prints = read_fingerprints()
    assert [p.sha256 for p in prints] == made.sha256.tolist()  # and none for the plain ones
    assert [(p.generator, p.seed, len(p.checkpoint)) for p in prints] == [("style", s, 64) for s in (5, 6, 7)]
    if format == "png":
        assert again.sha256.tolist() == plain.sha256.tolist()
        one, two = (load_pictures(t, 32, tmp_path / f"cache-{i}") for i, t in enumerate((made, plain)))
        assert np.array_equal(one, two)


def test_what_alter_writes_is_labelled_and_its_pixels_are_the_same(tmp_path: Path, manifest: pd.DataFrame) -> None:
    made = tasks.alter("swap", manifest, tmp_path / "out", n=3, size=32)
    bare = tasks.alter("swap", manifest, tmp_path / "bare", n=3, size=32, label=False)
    assert all(np.array_equal(load(a), load(b)) for a, b in zip(made.path, bare.path, strict=True))
    assert [p.sha256 for p in read_fingerprints()] == made.sha256.tolist()
    assert made.sha256.tolist() == [sha256(Path(p).read_bytes()) for p in made.path]


def test_repeating_a_run_that_was_killed_leaves_one_line_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after two files: before the line of the second (as here), or while it was written."""
    append, count = labelling.append, iter(range(2))

    def die(*words: object) -> None:
        if next(count) == 1:
            raise KeyboardInterrupt
        append(*words)

    monkeypatch.setattr(labelling, "append", die)
    with pytest.raises(KeyboardInterrupt):
        tasks.generate("style", 3, tmp_path / "out", seed=5)
    monkeypatch.setattr(labelling, "append", append)
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    (tmp_path / "out" / ".00000007.1234567.tmp.png").touch()
    for _ in range(2):
        made = tasks.generate("style", 3, tmp_path / "out", seed=5)
        assert [p.sha256 for p in read_fingerprints()] == made.sha256.tolist()
        assert made.sha256.tolist() == [sha256(Path(p).read_bytes()) for p in made.path]
    assert not list((tmp_path / "out").glob(".*"))
    tasks.generate("style", 3, tmp_path / "elsewhere", seed=5)
    assert len(read_fingerprints()) == 6  # other files have lines of their own


def test_a_file_of_the_same_name_with_other_pixels_is_written_anew(tmp_path: Path) -> None:
    tasks.generate("style", 1, tmp_path, seed=5)
    made = tasks.generate("style", 1, tmp_path, seed=5, truncation=0.3)
    assert made.sha256.tolist() == [read_fingerprints()[-1].sha256]


def test_generated_manifests_have_all_splits(tmp_path: Path) -> None:
    made = tasks.generate("style", 20, tmp_path, label=False)
    assert set(made.split) == {"train", "val", "test"}


def test_equal_pictures_are_listed_once_although_their_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck:
        def sample(self, n: int, *, seed: int) -> np.ndarray:
            return np.stack([draw_picture(0)] * n)

    monkeypatch.setattr(making, "load_generator", lambda name, weights: Stuck())
    assert len(tasks.generate("style", 4, tmp_path / "out")) == 1


def make_key(kind: str) -> tuple[bytes, bytes]:
    """(key, chain) in PEM, of a self-made root and its leaf; the key in its older form where there is one."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    made = [ec.generate_private_key(ec.SECP256R1()) if kind == "es256" else rsa.generate_private_key(65537, 2048)
            for _ in range(2)]  # fmt: skip
    start = datetime.datetime(2026, 1, 1)
    certificates = []
    for who, key in (("root", made[0]), ("leaf", made[1])):
        leaf = who == "leaf"
        usage = dict.fromkeys(["content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                               "encipher_only", "decipher_only"], False)  # fmt: skip
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"),
                       x509.NameAttribute(NameOID.COMMON_NAME, "root")]),
            x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"),
                       x509.NameAttribute(NameOID.COMMON_NAME, who)]),
            key.public_key(), x509.random_serial_number(), start, start + datetime.timedelta(days=36500),
        )  # fmt: skip
        for extension in (
            x509.BasicConstraints(not leaf, None),
            x509.KeyUsage(digital_signature=leaf, key_cert_sign=not leaf, crl_sign=not leaf, **usage),
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(made[0].public_key()),
            *([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])] if leaf else []),
        ):
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical)
        certificates.insert(0, builder.sign(made[0], hashes.SHA256()).public_bytes(Encoding.PEM))
    key = made[1].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return key, b"".join(certificates)


@pytest.mark.parametrize("kind", ["es256", "ps256"])
def test_a_certificate_of_the_user_signs(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    key, chain = make_key(kind)
    (tmp_path / "mine.pem").write_bytes(b"a note\n" + chain + b"\n" + key)
    signer = labelling.read_signer(tmp_path / "mine.pem")
    assert (signer.algorithm, signer.chain) == (kind, chain)
    (tmp_path / "root.pem").write_bytes(chain[chain.rindex(b"-----BEGIN") :])
    exhibit = make_exhibit(label(encode(draw_picture(1, size=128)), signer=signer), Path("x"))
    assert CHECKS.get("provenance")(exhibit, trust=read_trust(tmp_path / "root.pem")).details["state"] == "trusted"
    assert not (labelling.home() / "certificate").exists()


def test_the_local_signer_is_a_file_as_read_signer_wants_it() -> None:
    pytest.importorskip("cryptography")
    made = labelling.local_signer()
    assert labelling.read_signer(labelling.home() / "certificate" / "signer.pem") == made


@pytest.mark.parametrize("keep", ["nothing", "key", "chain", "broken", "two"])
def test_a_file_that_cannot_sign_is_one_sentence(keep: str, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    signer = labelling.local_signer()
    texts = {"nothing": b"", "key": signer.key, "chain": signer.chain, "two": 2 * signer.key + signer.chain,
             "broken": signer.key.replace(b"M", b"!") + signer.chain}  # fmt: skip
    (tmp_path / "x.pem").write_bytes(texts[keep])
    with pytest.raises(DetectorError, match="one private key"):
        labelling.read_signer(tmp_path / "x.pem")
    with pytest.raises(DetectorError, match="cannot be read"):
        labelling.read_signer(tmp_path / "absent.pem")


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(DetectorError, match="DETECTOR_HOME"):
        label(encode(draw_picture(1)))


def test_importing_it_imports_neither_c2pa_nor_torch() -> None:
    code = (
        "import sys, json, detector.pictures.labelling\n"
        "print(json.dumps(sorted({'c2pa', 'cryptography', 'torch'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_repeated_run_with_another_option_replaces_its_pictures(tmp_path: Path) -> None:
    """Slightly different pictures have the same perceptual hash, seed and weights."""
    tasks.generate("style", 1, tmp_path / "out", seed=5, truncation=0.7)
    before = load(next((tmp_path / "out").glob("*.png")))
    tasks.generate("style", 1, tmp_path / "out", seed=5, truncation=0.701)
    again = load(next((tmp_path / "out").glob("*.png")))
    assert perceptual_hash(before) == perceptual_hash(again)
    assert not np.array_equal(before, again)
