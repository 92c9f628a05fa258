"""The custody log of the service's examinations, in its database: entries that are chained by hashes.

They have the form of those of `evidence.custody`, and the same things show in them: an entry that was changed, removed
from the middle or inserted, and a report that is not as it was made. Events: `received` (a picture that is to be
examined), `reported` (its report), `failed` (why it has none).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from detector.errors import DetectorError
from detector.evidence.custody import check_chain, find_signer, is_sealed, make_entry, name_key
from detector.evidence.integrity import count_entries
from detector.service.database import CUSTODY_LOCK
from detector.service.tables import Custody, Report

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BLOCK = 500  # number of entries or reports in memory at a time


def append_entry(
    session: Session, event: str, facts: Mapping[str, Any], key: Ed25519PrivateKey | None = None
) -> None:  # fmt: skip
    """Append an entry in the transaction of a session, which ends before another can append. key: signs the entry."""
    if session.get_bind().dialect.name == "postgresql":  # in SQLite the transaction has the only write lock
        session.execute(select(func.pg_advisory_xact_lock(CUSTODY_LOCK)))
    last = session.execute(select(Custody.number, Custody.sha256).order_by(Custody.number.desc()).limit(1)).first()
    entry = make_entry(event, facts, last._asdict() if last else None, key)
    session.add(Custody(number=entry["number"], sha256=entry["sha256"], entry=json.dumps(entry, sort_keys=True)))
    session.flush()


def require_signer(engine: Engine, key: Ed25519PrivateKey | None) -> None:
    """Raise DetectorError if the log is signed, and not with this key, which is to sign its next entries."""
    with Session(engine) as session:
        last = session.scalar(select(Custody.entry).order_by(Custody.number.desc()).limit(1))
    signer = find_signer([_read(last or "")])
    if signer and signer != name_key(key):
        how = "with another key" if key else "and this service has no key"
        raise DetectorError(f"the custody log of this service is signed, {how}; name its key with --sign")


def check_custody(engine: Engine, signer: str = "") -> tuple[list[str], str]:
    """Return what contradicts the log, one line each, and the size of the log with its head.

    The head, the hash of the last entry, shows a removed end to whoever kept an earlier one. signer: the public key
    with which the log has to be signed.
    """
    with Session(engine) as session:
        entries = [_read(text) for text in session.scalars(select(Custody.entry).order_by(Custody.number))]
        problems, found = check_chain(entries), find_signer(entries)
        if signer and signer != found:
            problems.append(f"the log is {'signed with another key' if found else 'not signed'}")
        reported = [entry for entry in entries if entry.get("event") == "reported"]
        for start in range(0, len(reported), BLOCK):
            problems += _check_reports(session, reported[start : start + BLOCK])
        named = {(entry.get("exhibit"), entry.get("settings")) for entry in reported}
        there = session.execute(select(Report.sha256, Report.settings).where(Report.record != ""))
        unknown = sum((digest, settings) not in named for digest, settings in there)
    earlier = f"; {unknown} reports are not in the log, as those from before there was one" if unknown else ""
    return problems, count_entries(entries) + earlier + (f"; signed with the key {found}" if found else "")


def _check_reports(session: Session, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how the reports of some entries differ from what the log says."""
    query = select(Report.sha256, Report.settings, Report.record)
    found = session.execute(query.where(Report.sha256.in_([str(entry.get("exhibit")) for entry in entries])))
    records = {(digest, settings): record for digest, settings, record in found}
    problems = []
    for entry in entries:
        record = _read(records.get((str(entry.get("exhibit")), str(entry.get("settings"))), ""))
        if not record:
            problems.append(f"the report of entry {entry.get('number')} is gone")
        elif not is_sealed(record) or record.get("sha256") != entry.get("report"):
            problems.append(f"the report of entry {entry.get('number')} is not as it was made")
    return problems


def _read(text: str) -> dict[str, Any]:
    """Return a JSON object; {} if the text is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
