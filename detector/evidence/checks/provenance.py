"""Content Credentials: whether there is a C2PA manifest, whether it still fits the bytes, and who signed it.

A manifest that lives at a URL is named and never fetched: a file must not choose an address for us to open.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from detector.evidence.checks import CHECKS
from detector.files import sha256
from detector.pictures.containers import sniff
from detector.pictures.labelling import C2PA_SETTINGS, GENERATED, has_c2pa
from detector.types import Exhibit, Finding, Outcome

LIMITS = (
    "Most pictures carry no credentials and platforms strip them: absence says nothing. A valid signature says who "
    "vouches, not that the scene is true; without a trust list anybody can be the signer. Neither revocation nor a "
    "manifest elsewhere is looked up."
)
REFERENCE = "states: absent, valid-untrusted, trusted, invalid, remote-only, unreadable"
CAPTURED = ("digitalCapture", "computationalCapture")
UNTRUSTED = "signingCredential.untrusted"
MAX_READS = 500_000  # of one file by c2pa, which goes through a GIF byte by byte; honest pictures take hundreds
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@CHECKS.register("provenance", limits=LIMITS, reference=REFERENCE)
def check(exhibit: Exhibit, *, trust: Path | None = None) -> Finding:
    """Return the state of the Content Credentials, the signer, the actions and the declared source type.

    trust: a folder of trust lists (*.pem), or one such file; with None nobody is trusted.
    """
    if not has_c2pa():
        return Finding("provenance", Outcome.NOT_APPLICABLE,
                       "Content Credentials are not read: pip install 'face-forgery-detector[evidence]'.")  # fmt: skip
    lists = read_trust(trust)
    named = [{key: entry[key] for key in ("name", "date", "sha256")} for entry in lists]
    details: dict[str, Any] = {"state": "absent", "trust_lists": named}
    kind = sniff(exhibit.bytes)
    if kind in ("", "BMP"):
        why = "This format carries no Content Credentials." if kind else "The bytes are none of the formats read here."
        return Finding("provenance", Outcome.NOT_APPLICABLE, why, details)
    anchors = "\n".join(entry["pem"] or "" for entry in lists)
    details |= _read_store(exhibit.bytes, f"image/{kind.lower()}", anchors)
    return Finding("provenance", _point(details), _say(details), details)


def read_trust(trust: Path | None) -> list[dict[str, str | None]]:
    """Return name, date (in the name or the first lines, else None), SHA-256 and PEM text of each trust list."""
    if trust is None:
        return []
    found = []
    for path in sorted(trust.glob("*.pem")) if trust.is_dir() else [trust]:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "PRIVATE KEY" in text:  # a signer, not a list
            continue
        match = _DATE.search(path.name) or _DATE.search(text.partition("-----BEGIN")[0])
        date = match.group() if match else None
        found.append({"name": path.name, "date": date, "sha256": sha256(text.encode()), "pem": text})
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
    signer = manifest.get("signature_info") or {}
    types = [a["digitalSourceType"] for a in actions if "digitalSourceType" in a]
    codes = sorted({str(f["code"]) for f in failures})
    about = (manifest.get("claim_generator_info") or [{}])[0]
    state = {"Trusted": "trusted", "Valid": "valid-untrusted"}.get(store.get("validation_state", ""), "invalid")
    earlier = {s["code"] for i in manifest.get("ingredients", []) for s in i.get("validation_status") or []}
    return {
        "state": state,
        "codes": [c for c in codes if c != UNTRUSTED] if state == "invalid" else codes,
        "ingredient_codes": sorted(str(c) for c in earlier),
        "signer": {k: _cut(signer.get(k)) for k in ("issuer", "common_name", "alg", "cert_serial_number", "time")},
        "claim_generator": _cut(manifest.get("claim_generator") or about.get("name")),
        "title": _cut(manifest.get("title")),
        "actions": [_cut(a.get("action")) for a in actions],
        "digital_source_types": sorted({str(t).rstrip("/").rpartition("/")[2][:80] for t in types}),
        "manifests": len(store["manifests"]),
        "ingredients": len(manifest.get("ingredients", [])),
    }


def _point(details: dict[str, Any]) -> Outcome:
    """Return the direction: a self-declared fake is believed from anybody, a capture only from who is trusted."""
    types = details.get("digital_source_types", [])
    if details["state"] not in ("trusted", "valid-untrusted"):
        return Outcome.NEUTRAL
    if any(t in GENERATED for t in types):
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
    return f"Valid Content Credentials of {who}, {trusted}; declared: {declared}."


def _cut(value: Any) -> str | None:
    return None if value is None else str(value)[:200]
