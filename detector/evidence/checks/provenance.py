"""Content Credentials: whether there is a C2PA manifest, whether it still fits the bytes, and who signed it.

A manifest that lives at a URL is named and never fetched: a file must not choose an address for us to open.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from detector.evidence.checks import CHECKS
from detector.files import sha256
from detector.pictures.containers import sniff
from detector.pictures.labelling import C2PA_SETTINGS, has_c2pa
from detector.pictures.marks import Declaration, Field, find_marks, to_details
from detector.types import Exhibit, Finding, Outcome

LIMITS = (
    "Most pictures carry no credentials and platforms strip them: absence says nothing. A valid signature says who "
    "vouches, not that the scene is true; without a trust list anybody can be the signer. Neither revocation nor a "
    "manifest elsewhere is looked up."
)
REFERENCE = "states: absent, valid-untrusted, trusted, invalid, remote-only, unreadable"
CAPTURED = ("digitalCapture", "computationalCapture")
UNTRUSTED = "signingCredential.untrusted"
CONTAINED = ("parentOf", "componentOf")  # ingredients that the picture shows; others were only put into a program
MAX_MANIFESTS = 256  # most manifests of one store that are read
MAX_TEXTS = 4096  # most texts of one manifest that are compared with the marks of generators
MAX_READS = 500_000  # most reads of one file by c2pa, which reads a GIF byte by byte; honest pictures take hundreds
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
TrustList = dict[str, str | None]  # name, date, sha256 and pem, as `read_trust` returns them


@CHECKS.register("provenance", limits=LIMITS, reference=REFERENCE)
def check(exhibit: Exhibit, *, trust: Sequence[TrustList] = ()) -> Finding:
    """Return the state of the Content Credentials, the signer, the actions and the declared source type.

    Points to fake if the manifest, or that of an ingredient at any depth, declares that a generator took part;
    `declared_generated` says what it declares, by which program, who signed that, and where it lies.

    trust: the trust lists, as `read_trust` returns them; without any, nobody is trusted.
    """
    if not has_c2pa():
        return Finding("provenance", Outcome.NOT_APPLICABLE,
                       "Content Credentials are not read: pip install 'face-forgery-detector[evidence]'.")  # fmt: skip
    named = [{key: entry[key] for key in ("name", "date", "sha256")} for entry in trust]
    details: dict[str, Any] = {"state": "absent", "trust_lists": named}
    kind = sniff(exhibit.bytes)
    if kind == "BMP":
        return Finding("provenance", Outcome.NOT_APPLICABLE, "A BMP file carries no Content Credentials.", details)
    if not kind:
        why = "Content Credentials of this kind of file are not read here."
        return Finding("provenance", Outcome.NOT_APPLICABLE, why, details)
    anchors = "\n".join(entry["pem"] or "" for entry in trust)
    details |= _read_store(exhibit.bytes, f"image/{kind.lower()}", anchors)
    return Finding("provenance", _point(details), _say(details), details)


def read_trust(trust: Path | None) -> list[TrustList]:
    """Return name, date (in the name or the first lines, else None), SHA-256 and PEM text of each trust list.

    trust: a folder of trust lists (*.pem), or one such file; None gives an empty list.

    Raises DetectorError if there is none where one was named.
    """
    if trust is None:
        return []
    found = []
    for path in sorted(trust.glob("*.pem")) if trust.is_dir() else [trust]:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "PRIVATE KEY" in text or "-----BEGIN CERTIFICATE-----" not in text:  # a signer, or no list
            continue
        match = _DATE.search(path.name) or _DATE.search(text.partition("-----BEGIN")[0])
        date = match.group() if match else None
        found.append({"name": path.name, "date": date, "sha256": sha256(text.encode()), "pem": text})
    if not found:
        raise DetectorError(f"{trust} holds no trust list, which is a .pem file with certificates")
    return found


def _read_store(data: bytes, mime: str, anchors: str) -> dict[str, Any]:
    import c2pa

    settings = C2PA_SETTINGS | ({"trust": {"trust_anchors": anchors}} if anchors else {})
    try:
        with c2pa.Context.from_dict(settings) as context:
            reader = c2pa.Reader.try_create(mime, _Stream(data), context=context)
            if reader is None:
                return {"state": "absent"}
            with reader:
                text = reader.json()
    except c2pa.C2paError as error:
        message = " ".join(str(error).split())[:300]
        url = re.search(r"must fetch remote manifests from url (\S+)", message)
        return {"state": "remote-only", "url": url.group(1)} if url else {"state": "unreadable", "codes": [message]}
    try:
        return _summarise(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"state": "unreadable", "codes": ["the manifest store is not of the expected shape"]}


class _Stream(io.BytesIO):
    reads = 0

    def readinto(self, buffer: Any) -> int:
        self.reads += 1
        if self.reads > MAX_READS:
            raise OSError("too many blocks")
        return super().readinto(buffer)


def _summarise(store: dict[str, Any]) -> dict[str, Any]:
    results = store.get("validation_results") or {}
    failures = list((results.get("activeManifest") or {}).get("failure", []))
    for delta in results.get("ingredientDeltas") or []:
        failures += delta["validationDeltas"].get("failure", [])
    manifest = store["manifests"][store["active_manifest"]]
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ][:64]
    types = {text for name, text in _read_texts(manifest) if name.lower() == "digitalsourcetype"}
    codes = sorted({str(f["code"]) for f in failures})
    state = {"Trusted": "trusted", "Valid": "valid-untrusted"}.get(store.get("validation_state", ""), "invalid")
    signer = manifest.get("signature_info") or {}
    about = (manifest.get("claim_generator_info") or [{}])[0]
    earlier = {code for ingredient in manifest.get("ingredients", []) for code in _read_codes(ingredient)}
    declared = [] if state == "invalid" else _find_declared(store, sound=set(codes) <= {UNTRUSTED})
    return {
        "state": state,
        "codes": [c for c in codes if c != UNTRUSTED] if state == "invalid" else codes,
        "ingredient_codes": sorted(earlier),
        "signer": {k: _cut(signer.get(k)) for k in ("issuer", "common_name", "alg", "cert_serial_number", "time")},
        "claim_generator": _cut(manifest.get("claim_generator") or about.get("name")),
        "title": _cut(manifest.get("title")),
        "actions": [_cut(a.get("action")) for a in actions],
        "digital_source_types": sorted({t.rstrip("/").rpartition("/")[2][:80] for t in types})[:64],
        "declared_generated": [to_details(d) for d in declared[:64]],
        "manifests": len(store["manifests"]),
        "ingredients": len(manifest.get("ingredients", [])),
    }


def _find_declared(store: dict[str, Any], *, sound: bool) -> list[Declaration]:
    """Return what the manifest and those of its ingredients declare, each with who signed it and where it lies.

    sound: whether the ingredients still are what their signers recorded. One that was not even then is not believed.
    """
    found: list[Declaration] = []
    waiting, seen = [(store["active_manifest"], "the manifest")], set[str]()
    while waiting and len(seen) < MAX_MANIFESTS:
        label, where = waiting.pop(0)
        manifest = store["manifests"].get(label)
        if manifest is None or label in seen:
            continue
        seen.add(label)
        signer = (manifest.get("signature_info") or {}).get("issuer") or "an unnamed signer"
        for declared in find_marks([Field(where, name, text) for name, text in _read_texts(manifest)]):
            found += [declared._replace(where=where, signed_by=str(signer)[:200])] if declared.sure else []
        for ingredient in manifest.get("ingredients", []) if sound else []:
            relation = ingredient.get("relationship")
            if relation in CONTAINED and _read_codes(ingredient) <= {UNTRUSTED}:
                within = "" if where == "the manifest" else f" of {where}"
                name = f"ingredient {str(ingredient.get('title'))[:60]!r} ({relation}){within}"
                waiting.append((str(ingredient.get("active_manifest")), name[:200]))
    return found


def _read_codes(ingredient: dict[str, Any]) -> set[str]:
    """Return the failures that were recorded when an ingredient was taken in."""
    results = (ingredient.get("validation_results") or {}).get("activeManifest") or {}
    recorded = [*(ingredient.get("validation_status") or []), *results.get("failure", [])]
    return {str(each["code"]) for each in recorded}


def _read_texts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (key without its namespace, text) of every text in the assertions; names of software by that key."""
    found = [("softwareAgent", str(manifest.get("claim_generator") or ""))]
    found += [("softwareAgent", str(about.get("name"))) for about in manifest.get("claim_generator_info") or []]
    waiting: list[tuple[str, Any]] = [("", [a.get("data") for a in manifest.get("assertions", [])])]
    while waiting and len(found) < MAX_TEXTS:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(key if key == "softwareAgent" else name.rpartition(":")[2], v) for name, v in value.items()]
        elif isinstance(value, list):
            waiting += [(key, v) for v in value]
        elif isinstance(value, str):
            found.append((key, value))
    return found


def _point(details: dict[str, Any]) -> Outcome:
    """Return the direction: a self-declared fake is believed from anybody, a capture only from who is trusted."""
    types = details.get("digital_source_types", [])
    if details.get("declared_generated"):
        return Outcome.SUPPORTS_FAKE
    captured = bool(types) and all(t in CAPTURED for t in types)
    return Outcome.SUPPORTS_REAL if captured and details["state"] == "trusted" else Outcome.NEUTRAL


def _say(details: dict[str, Any]) -> str:
    state = details["state"]
    if state == "absent":
        return "No Content Credentials; most pictures have none."
    if state == "remote-only":
        return "The Content Credentials lie at a URL and were not fetched."
    if state == "unreadable":
        return "There is something like Content Credentials, and it cannot be read."
    who = details["signer"]["issuer"] or "an unnamed signer"
    declared = ", ".join(details["digital_source_types"]) or "no source type"
    if state == "invalid":
        return f"Content Credentials of {who} do not fit this file: {', '.join(details['codes']) or 'no code given'}."
    trusted = "a trusted signer" if state == "trusted" else "a signer on no trust list"
    said = [f"Valid Content Credentials of {who}, {trusted}; declared: {declared}"]
    said += [Declaration(**d).describe() for d in details["declared_generated"]]
    return f"{'; '.join(said)[:600]}."


def _cut(value: Any) -> str | None:
    return None if value is None else str(value)[:200]
