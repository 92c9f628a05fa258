from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture

from detector.errors import DetectorError
from detector.evidence.checks import make_exhibit, provenance, read_exhibit
from detector.pictures import labelling
from detector.pictures.images import decode, encode
from detector.pictures.labelling import SOURCE_TYPE
from detector.types import Finding, Outcome

c2pa = pytest.importorskip("c2pa")

# What each name of public-testfiles promises, as its README says; I and A carry no manifest.
PLANTED: dict[str, tuple[str, list[str]]] = {
    "A": ("absent", []),
    "I": ("absent", []),
    "C": ("valid-untrusted", ["signingCredential.untrusted"]),
    "CA": ("valid-untrusted", ["signingCredential.untrusted"]),
    "CAI": ("valid-untrusted", ["signingCredential.untrusted"]),
    "CAICA": ("valid-untrusted", ["signingCredential.untrusted"]),
    "CACAICAICICA": ("valid-untrusted", ["signingCredential.untrusted"]),
    "CIE-sig-CA": ("valid-untrusted", ["signingCredential.untrusted"]),
    "E-dat-CA": ("invalid", ["assertion.dataHash.mismatch"]),
    "E-sig-CA": ("invalid", ["claimSignature.mismatch"]),
    "E-uri-CA": ("invalid", ["assertion.hashedURI.mismatch"]),
    "E-clm-CAICAI": ("invalid", ["assertion.hashedURI.mismatch", "ingredient.manifest.missing"]),
    "E-uri-CIE-sig-CA": ("invalid", ["assertion.hashedURI.mismatch"]),
    "XCA": ("invalid", ["assertion.dataHash.mismatch"]),
    "XCI": ("invalid", ["assertion.dataHash.mismatch"]),
}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_formats_of_telephones_can_carry_credentials(kind: str) -> None:
    data = encode(draw_picture(1), "AVIF")
    data = data if kind == "AVIF" else data.replace(b"ftypavif", b"ftypheic", 1)
    assert provenance.check(make_exhibit(data, Path("a"))).summary == "No Content Credentials; most pictures have none."
    labelled = signed(encode(draw_picture(1, size=128), "AVIF"), format="image/avif")
    finding = provenance.check(make_exhibit(labelled, Path("a.avif")))
    assert (finding.details["state"], finding.outcome) == ("valid-untrusted", Outcome.SUPPORTS_FAKE)


def signed(
    data: bytes | None = None, source: str = SOURCE_TYPE, *, ingredients: Sequence[tuple[str, bytes]] = (),
    assertions: Sequence[dict[str, Any]] = (), **changes: Any,
) -> bytes:  # fmt: skip
    """A file signed by the local certificate, its one action declaring `source`; ingredients: relation and bytes."""
    data = data or encode(draw_picture(1, size=128), "JPEG")
    signer = labelling.local_signer()
    action = {"action": "c2pa.created", "digitalSourceType": source} if source else {"action": "c2pa.opened"}
    if not source:
        action["parameters"] = {"ingredientIds": ["0"]}
    manifest = {
        "claim_generator_info": [{"name": "test", "version": "1"}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action | changes.get("action", {})]}},
            *assertions,
        ],
    }
    out = io.BytesIO()
    info = c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None)
    with c2pa.Context.from_dict(labelling.C2PA_SETTINGS) as context, c2pa.Builder(manifest, context) as builder:
        if "remote" in changes:
            builder.set_no_embed()
            builder.set_remote_url(changes["remote"])
        for number, (relation, inside) in enumerate(ingredients):
            about = {"title": f"part {number}", "relationship": relation, "instance_id": str(number)}
            builder.add_ingredient(json.dumps(about), "image/jpeg", io.BytesIO(inside))
        builder.sign(c2pa.Signer.from_info(info), changes.get("format", "image/jpeg"), io.BytesIO(data), out)
    return out.getvalue()


def check(data: bytes, **options: Any) -> Finding:
    return provenance.check(make_exhibit(data, Path("x.jpg")), **options)


def test_very_many_blocks_are_not_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    gif = b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 5000 + b"\0;"
    monkeypatch.setattr(provenance, "MAX_READS", 1000)
    assert check(gif).details["state"] == "unreadable"
    assert check(signed()).details["state"] == "valid-untrusted"


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_planted_faults_are_named(name: str, shared: Path) -> None:
    path = shared / "evidence/c2pa" / f"adobe-20220124-{name}.jpg"
    if not path.is_file():
        pytest.skip("the C2PA files are not on this machine")
    state, codes = PLANTED[name]
    found = provenance.check(read_exhibit(path)).details
    assert (found["state"], found.get("codes", [])) == (state, codes)
    if "CIE" in name:
        assert "claimSignature.mismatch" in found["ingredient_codes"]


def test_every_planted_file_is_valid_or_faulty_as_in_its_name(shared: Path) -> None:
    paths = sorted((shared / "evidence/c2pa").glob("*.jpg"))
    if not paths:
        pytest.skip("the C2PA files are not on this machine")
    for path in paths:
        name = path.stem.removeprefix("adobe-20220124-")
        state = "absent" if name in ("A", "I") else "invalid" if name[:2] in ("E-", "XC") else "valid-untrusted"
        lists = provenance.read_trust(path.parent)
        assert provenance.check(read_exhibit(path), trust=lists).details["state"] == state, name


def test_trust_lists_are_named_and_dated(tmp_path: Path) -> None:
    (tmp_path / "mine-2026-08-21.pem").write_bytes(labelling.local_signer().chain)
    (tmp_path / "other.pem").write_text("Retrieved 2025-01-02\n-----BEGIN CERTIFICATE-----\n")
    lists = provenance.read_trust(tmp_path)
    assert [(t["name"], t["date"]) for t in lists] == [
        ("mine-2026-08-21.pem", "2026-08-21"),
        ("other.pem", "2025-01-02"),
    ]
    assert all(len(t["sha256"] or "") == 64 for t in lists)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "picture.pem").write_bytes(encode(draw_picture(1)))
    for nothing in (tmp_path / "empty", tmp_path / "empty" / "picture.pem"):
        with pytest.raises(DetectorError, match="holds no trust list"):
            provenance.read_trust(nothing)


def test_signer_is_trusted_only_through_a_list(tmp_path: Path) -> None:
    data = signed()
    details = check(data).details
    assert details["state"] == "valid-untrusted"
    assert details["signer"]["common_name"] == "local generator"
    assert details["digital_source_types"] == ["trainedAlgorithmicMedia"]
    trusted = check(data, trust=provenance.read_trust(labelling.home() / "certificate")).details
    assert (trusted["state"], trusted["codes"]) == ("trusted", [])
    assert [t["name"] for t in trusted["trust_lists"]] == ["root.pem"]


@pytest.mark.parametrize(
    ("source", "untrusted", "trusted"),
    [
        ("trainedAlgorithmicMedia", Outcome.SUPPORTS_FAKE, Outcome.SUPPORTS_FAKE),
        ("compositeWithTrainedAlgorithmicMedia", Outcome.SUPPORTS_FAKE, Outcome.SUPPORTS_FAKE),
        ("compositeSynthetic", Outcome.SUPPORTS_FAKE, Outcome.SUPPORTS_FAKE),
        ("algorithmicMedia", Outcome.SUPPORTS_FAKE, Outcome.SUPPORTS_FAKE),
        ("algorithmicallyEnhanced", Outcome.NEUTRAL, Outcome.NEUTRAL),
        ("digitalCapture", Outcome.NEUTRAL, Outcome.SUPPORTS_REAL),
        ("humanEdits", Outcome.NEUTRAL, Outcome.NEUTRAL),
    ],
)
def test_a_capture_counts_only_from_trusted_signers(source: str, untrusted: Outcome, trusted: Outcome) -> None:
    data = signed(source=SOURCE_TYPE.replace("trainedAlgorithmicMedia", source))
    assert check(data).outcome == untrusted
    assert check(data, trust=provenance.read_trust(labelling.home() / "certificate" / "root.pem")).outcome == trusted


def test_a_changed_byte_is_invalid_and_neutral() -> None:
    data = bytearray(signed())
    data[-100] ^= 1
    found = check(bytes(data))
    assert (found.details["state"], found.details["codes"]) == ("invalid", ["assertion.dataHash.mismatch"])
    assert found.outcome == Outcome.NEUTRAL


def test_credentials_are_absent_after_another_save() -> None:
    found = check(encode(decode(signed()), "JPEG"))
    assert (found.details["state"], found.outcome) == ("absent", Outcome.NEUTRAL)


def test_a_manifest_at_a_url_causes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener hears c2pa's own default settings, so silence under ours means something."""
    connected = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = server.getsockname()[1]

        def listen() -> None:
            try:
                server.accept()[0].close()
                connected.set()
            except OSError:
                pass

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        data = signed(remote=f"http://127.0.0.1:{port}/m.c2pa")

        with monkeypatch.context() as blocked:
            blocked.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection from Python"))
            found = check(data)
        assert found.details["state"] == "remote-only"
        assert found.details["url"].endswith("/m.c2pa")
        assert found.outcome == Outcome.NEUTRAL
        assert not connected.is_set()

        with pytest.raises(c2pa.C2paError), c2pa.Context() as context:
            c2pa.Reader.try_create("image/jpeg", io.BytesIO(data), context=context)
        thread.join()
        assert connected.is_set()


def test_without_the_extra_the_check_is_not_applicable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "has_c2pa", lambda: False)
    found = check(signed())
    assert found.outcome == Outcome.NOT_APPLICABLE
    assert "[evidence]" in found.summary


CAPTURE = SOURCE_TYPE.replace("trainedAlgorithmicMedia", "digitalCapture")


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("relation", ["parentOf", "componentOf"])
def test_what_an_ingredient_declares_is_found_at_any_depth(depth: int, relation: str) -> None:
    data = signed()
    for _ in range(depth):
        data = signed(source="" if relation == "parentOf" else CAPTURE, ingredients=[(relation, data)])
    found = check(data)
    assert found.outcome == Outcome.SUPPORTS_FAKE
    (declared,) = found.details["declared_generated"]
    assert declared["says"] == "IPTC source type trainedAlgorithmicMedia (made by generative AI)"
    assert declared["where"] == " of ".join([f"ingredient 'part 0' ({relation})"] * depth)
    assert (declared["by"], declared["signed_by"]) == ("", "detector, this installation")
    assert "ingredient 'part 0'" in found.summary


def test_ingredients_that_are_not_shown_or_were_broken_declare_nothing() -> None:
    fake = signed()
    assert check(signed(source=CAPTURE, ingredients=[("inputTo", fake)])).details["declared_generated"] == []
    broken = bytearray(fake)
    broken[-100] ^= 1
    found = check(signed(source="", ingredients=[("parentOf", bytes(broken))]))
    assert found.details["ingredient_codes"] == ["assertion.dataHash.mismatch", "signingCredential.untrusted"]
    assert (found.details["declared_generated"], found.outcome) == ([], Outcome.NEUTRAL)
    photograph = signed(source=CAPTURE)
    trusted = provenance.read_trust(labelling.home() / "certificate" / "root.pem")
    assert check(signed(source=CAPTURE, ingredients=[("parentOf", photograph)]), trust=trusted).outcome == (
        Outcome.SUPPORTS_REAL
    )
    assert check(signed(source=CAPTURE, ingredients=[("parentOf", fake)]), trust=trusted).outcome == (
        Outcome.SUPPORTS_FAKE
    )


def test_an_altered_file_keeps_no_declaration() -> None:
    for whole in (signed(), signed(source="", ingredients=[("parentOf", signed())])):
        assert check(whole).details["declared_generated"]
        altered = bytearray(whole)
        altered[-100] ^= 1
        assert check(bytes(altered)).details["declared_generated"] == []


def test_other_places_of_a_declaration() -> None:
    metadata = {
        "label": "stds.iptc",
        "data": {
            "@context": {"Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"},
            "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
        },
    }
    assert check(signed(source=CAPTURE, assertions=[metadata])).outcome == Outcome.SUPPORTS_FAKE
    named = check(signed(source=CAPTURE, action={"softwareAgent": {"name": "Bing Image Creator"}}))
    assert named.details["declared_generated"][0]["by"] == "Bing Image Creator"
    assert named.details["declared_generated"][0]["signed_by"] == "detector, this installation"
    refused = {
        "label": "cawg.training-mining",
        "data": {"entries": {"cawg.ai_generative_training": {"use": "notAllowed"}}},
    }
    assert check(signed(source=CAPTURE, assertions=[refused])).outcome == Outcome.NEUTRAL


def test_stores_that_point_in_circles_end() -> None:
    ingredient = {"relationship": "parentOf", "active_manifest": "a", "title": "itself"}
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    manifest = {
        "ingredients": [ingredient] * 3,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    store = {"active_manifest": "a", "manifests": {"a": manifest}, "validation_state": "Valid"}
    assert len(provenance._summarise(store)["declared_generated"]) == 1
    many = {str(i): {"ingredients": [ingredient | {"active_manifest": str(i + 1)}]} for i in range(5000)}
    store = {"active_manifest": "0", "manifests": many, "validation_state": "Valid"}
    assert provenance._summarise(store)["declared_generated"] == []


def test_unsupported_formats_are_not_reported_as_without_credentials() -> None:
    video = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(64)
    for data in (video, b"\xff\x0a" + bytes(64), b"%PDF-1.7 ..."):
        found = check(data)
        assert found.outcome == Outcome.NOT_APPLICABLE
        assert "not read here" in found.summary
        assert "carries no" not in found.summary
