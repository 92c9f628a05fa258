"""The state of the service in its database: jobs, pictures, reports and feedback."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased, defer

from detector.evidence.checks.duplicates import CLOSE
from detector.evidence.custody import now
from detector.evidence.folders import URGENT, rank
from detector.files import as_text, sha256
from detector.pictures.fingerprints import distances
from detector.service.custody import append_entry
from detector.service.database import open_database
from detector.service.tables import DONE, FAILED, RUNNING, WAITING, Basis, Drawing, Feedback, Job, Picture, Report
from detector.service.wording import describe_row, find_details
from detector.types import rank_suspicion

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

QUEUE = 500  # number of pictures that the page lists
SIMILAR = 6  # number of near duplicates that the page of a picture shows
FAILED_URGENCY = 50  # urgency of a picture without a report: below inconclusive, above likely-real


@dataclass(frozen=True)
class Upload:
    """One picture that was received completely; its bytes are in the folder of pictures."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Taken:
    """A picture that a worker is examining."""

    job_id: str
    position: int
    name: str
    sha256: str
    attempts: int
    request_id: str
    full: bool  # whether it is examined, and not only judged


class KeyReused(Exception):
    """An idempotency key that was used with another request before."""


class Store:
    """The database.

    basis: what reports depend on besides pictures, versions and weights. A verdict of an earlier one is shown until
    there is one of this. key: signs the entries of the custody log.
    """

    def __init__(self, url: str, basis: Mapping[str, str], key: Ed25519PrivateKey | None = None) -> None:
        self.engine, self._key = open_database(url), key
        self.settings, self._basis = sha256(json.dumps(basis, sort_keys=True).encode()), basis
        self._earlier: dict[str, str] = {}

    def note_basis(self) -> None:
        """Note that this basis is the latest, and read the earlier ones."""
        with Session(self.engine) as session, session.begin():
            number = session.scalar(select(func.coalesce(func.max(Basis.number), 0))) or 0
            session.merge(Basis(digest=self.settings, number=number + 1, described=json.dumps(self._basis)))
            session.flush()
            bases = {row.digest: json.loads(row.described) for row in session.scalars(select(Basis))}
        self._earlier = {
            digest: f"version {basis.get('detector', '?')} with the weights {basis.get('weights', '?')[:12]}"
            for digest, basis in bases.items()
        }

    def name_earlier(self, settings: str) -> str:
        """Return what gave a verdict with these settings; empty if this service would give it."""
        return "" if settings == self.settings else self._earlier.get(settings, "an earlier version or other weights")

    def add_job(
        self, owner: str, uploads: Sequence[Upload], *, priority: int, request_id: str,
        idempotency_key: str | None = None, full: bool = False,
    ) -> tuple[str, bool]:  # fmt: skip
        """Return (id of the job, whether it is new): the same idempotency key and request give the earlier job.

        Raises KeyReused if that key came with another request.
        """
        sent = json.dumps([priority, *([u.name, u.sha256] for u in uploads), *(["full"] if full else [])]).encode()
        number = select(func.coalesce(func.max(Job.number), 0) + 1).scalar_subquery()
        job = Job(id=str(uuid.uuid4()), owner=owner, idempotency_key=idempotency_key, fingerprint=sha256(sent),
                  request_id=request_id, priority=priority, created=now(), number=number, full=full)  # fmt: skip
        chosen, fingerprint = job.id, job.fingerprint
        try:
            with Session(self.engine) as session, session.begin():
                session.add(job)
                session.flush()
                session.add_all(
                    Picture(job_id=chosen, position=i, name=u.name, sha256=u.sha256, size=u.size, state=WAITING)
                    for i, u in enumerate(uploads)
                )
                for u in uploads if full else ():
                    facts = {"exhibit": u.sha256, "name": u.name, "job": chosen}
                    append_entry(session, "received", facts, self._key)
        except IntegrityError:
            with Session(self.engine) as session:
                earlier = session.scalars(select(Job).filter_by(owner=owner, idempotency_key=idempotency_key)).one()
                if earlier.fingerprint != fingerprint:
                    raise KeyReused from None
                return earlier.id, False
        return chosen, True

    def requeue(self) -> int:
        """Put back the pictures that an earlier process had not finished; return their number."""
        with Session(self.engine) as session, session.begin():
            rows = session.execute(update(Picture).where(Picture.state == RUNNING).values(state=WAITING))
            return int(rows.rowcount)  # type: ignore[attr-defined]

    def take(self, most: int = 1) -> list[Taken]:
        """Return the next waiting pictures, up to `most`, and mark them as running.

        One that is to be examined, or that was tried before, is taken alone.
        """
        query = (
            select(Picture, Job.request_id, Job.full).join(Job)
            .where(Picture.state == WAITING, Picture.due <= time.time())
            .order_by(Job.priority, Job.number, Job.created, Job.id, Picture.position).limit(most)
            .with_for_update(skip_locked=True, of=Picture)
        )  # fmt: skip
        with Session(self.engine) as session, session.begin():
            found = session.execute(query).all()
            together = list(takewhile(lambda row: not row.full and not row.Picture.attempts, found))
            taken = []
            for picture, request_id, full in together or found[:1]:
                picture.state, picture.attempts = RUNNING, picture.attempts + 1
                taken.append(Taken(picture.job_id, picture.position, picture.name, picture.sha256, picture.attempts,
                                   request_id, full))  # fmt: skip
            return taken

    def put_back(self, taken: Sequence[Taken]) -> None:
        """Put back pictures whose examination did not begin or was interrupted; the attempt does not count."""
        self._mark(taken, state=WAITING, attempts=Picture.attempts - 1)

    def retry(self, taken: Sequence[Taken], wait: float = 0) -> None:
        """Put back pictures for another attempt, after so many seconds."""
        self._mark(taken, state=WAITING, due=time.time() + wait)

    def fail(self, taken: Taken, slug: str, detail: str) -> None:
        """Store the reason why a picture has no report."""
        facts = {"exhibit": taken.sha256, "job": taken.job_id, "statement": as_text(detail)}
        self._mark([taken], ("failed", facts) if taken.full else None, state=FAILED, slug=slug, detail=as_text(detail))

    def judge(self, taken: Sequence[Taken], judged: Mapping[str, Mapping[str, Any]]) -> None:
        """Store judgements, unless their bytes have one, and mark their pictures as done in the same transaction.

        judged: SHA-256 -> what `worker.judge` yields, with the thumbnail as `jpeg`.
        """
        reports = [self._make_judged(digest, item) for digest, item in judged.items()]
        self._add(taken, lambda session, known: session.add_all(r for r in reports if r.sha256 not in known))

    def finish(
        self, taken: Taken, record: Mapping[str, Any], row: Mapping[str, Any], drawings: Iterable[Mapping[str, Any]]
    ) -> None:
        """Store a report, unless these bytes have one, and mark the picture as done in the same transaction.

        row: as `evidence.folders.summarise`, with the perceptual hash of the picture as `phash`, empty if it has none.
        """
        faces = find_details(record)["faces"]
        key = {"sha256": taken.sha256, "settings": self.settings}
        report = Report(
            **key, opinion=row["opinion"], urgency=rank(row)[0], score=faces[0]["score"] if faces else None,
            log10_lr=row["log10_lr"], statement=as_text(row["statement"]), thumbnail=base64.b64decode(row["jpeg"]),
            record=json.dumps(record, sort_keys=True), phash=row["phash"],
        )  # fmt: skip
        drawn = [Drawing(**key, number=i, **drawing) for i, drawing in enumerate(drawings)]

        def add(session: Session, known: Mapping[str, Report]) -> None:
            if taken.sha256 not in known or not known[taken.sha256].record:
                session.merge(report)  # a judgement that is there stays
                session.flush()
                session.add_all(drawn)
                facts = {"exhibit": taken.sha256, "job": taken.job_id, "report": record["sha256"]}
                append_entry(session, "reported", facts | {"settings": self.settings}, self._key)

        self._add([taken], add)

    def finish_known(self, taken: Sequence[Taken]) -> dict[str, str]:
        """Mark the pictures as done whose bytes have what they need; return the opinion on them by SHA-256."""
        with Session(self.engine) as session, session.begin():
            found = self._known(session, taken)
            known = {t.sha256 for t in taken if t.sha256 in found and (found[t.sha256].record or not t.full)}
            self._close(session, [t for t in taken if t.sha256 in known])
            return {digest: found[digest].opinion for digest in known}

    def ask(self, owner: str, digest: str, request_id: str) -> Picture | None:
        """Return the picture of this owner whose examination makes the report on some bytes; None without a picture.

        It is a new one, in a job of its own, unless there is one that waits, runs or failed.
        """
        query = (
            select(Picture, Job.full).join(Job).where(Job.owner == owner, Picture.sha256 == digest)
            .order_by(Job.full.desc(), Job.number.desc()).limit(1)
        )  # fmt: skip
        with Session(self.engine, expire_on_commit=False) as session:
            found = session.execute(query).first()
            if found is None:
                return None
            picture, full = found
            if picture.state == FAILED or (full and picture.state != DONE):
                return picture
            upload = Upload(picture.name, picture.sha256, picture.size)
        job_id, _ = self.add_job(owner, [upload], priority=0, request_id=request_id, full=True)
        with Session(self.engine) as session:
            return session.get(Picture, (job_id, 0))

    def read_job(self, owner: str, job_id: str) -> tuple[Job, list[Row[tuple[Picture, Report | None]]]] | None:
        """Return a job of that owner with its pictures and their reports, if any; None if there is no such job."""
        query = (
            select(Picture, Report).outerjoin(Report, self._reported()).where(Picture.job_id == job_id)
            .order_by(Picture.position)
        )  # fmt: skip
        with Session(self.engine, expire_on_commit=False) as session:
            job = session.get(Job, job_id)
            if job is None or job.owner != owner:
                return None
            return job, list(session.execute(query))

    def read_report(self, owner: str, digest: str) -> Report | None:
        """Return the latest report on bytes that this owner sent; None if there is none."""
        sent = select(Picture.job_id).join(Job).where(Job.owner == owner, Picture.sha256 == digest).limit(1)
        latest = self._latest(select(Report), Report).where(Report.sha256 == digest)
        with Session(self.engine, expire_on_commit=False) as session:
            return session.scalars(latest).first() if session.execute(sent).first() else None

    def read_drawings(self, digest: str) -> list[Drawing]:
        """Return the drawings of a report in their order."""
        query = select(Drawing).filter_by(sha256=digest, settings=self.settings).order_by(Drawing.number)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def list_similar(self, owner: str, report: Report) -> list[dict[str, Any]]:
        """Return the pictures of this owner that are near duplicates of an examined one, the closest first.

        Each has its report, its name, its size in bytes, and the share of bits of the perceptual hash that differ. Of
        the pictures that came last, `20 * QUEUE` are compared.
        """
        if not report.phash:
            return []
        query = (
            select(Report.sha256, Report.phash, Report.settings, func.max(Picture.name), func.max(Picture.size))
            .join(Picture, self._reported()).join(Job)
            .where(Job.owner == owner, Report.phash != "", Report.sha256 != report.sha256)
            .group_by(Report.sha256, Report.phash, Report.settings)
            .order_by(func.max(Job.number).desc()).limit(20 * QUEUE)
        )  # fmt: skip
        with Session(self.engine, expire_on_commit=False) as session:
            rows = list(session.execute(query))
            shares = distances(report.phash, [row[1] for row in rows])
            near = sorted((share, *row) for share, row in zip(shares, rows, strict=True) if share <= CLOSE[256])
            return [{"report": session.get(Report, (digest, settings)), "name": name, "size": size,
                     "share": float(share)} for share, digest, _, settings, name, size in near[:SIMILAR]]  # fmt: skip

    def list_queue(self, owner: str, opinion: str = "", order: str = "priority") -> list[dict[str, Any]]:
        """Return the rows of the page: each picture that this owner sent once, the most urgent or the newest first.

        opinion: of the rows, or a state; empty for all.
        """
        query = (
            select(Picture.name, Picture.sha256, Picture.state, Picture.detail, Job.created, Report.opinion,
                   Report.urgency, Report.log10_lr, Report.score, Report.statement, Report.settings)
            .join(Job).outerjoin(Report, self._reported()).where(Job.owner == owner)
            .order_by(Job.number.desc(), Job.created.desc(), Picture.position).limit(20 * QUEUE)
        )  # fmt: skip
        with Session(self.engine) as session:
            found = [dict(row._mapping) for row in session.execute(query)]
            given = select(Feedback.sha256, Feedback.answer).where(Feedback.owner == owner).order_by(Feedback.id)
            answers = {digest: answer for digest, answer in session.execute(given)}
        rows = list({row["sha256"]: row for row in reversed(found)}.values())[::-1]
        for row in rows:
            row["earlier"] = self.name_earlier(row["settings"]) if row["opinion"] else ""
            again = row["earlier"] and row["state"] in (WAITING, RUNNING)
            row["verdict"] = WAITING if again else row["opinion"] or ("error" if row["state"] == FAILED else WAITING)
            row["answer"] = answers.get(row["sha256"], "")
        rows = [row for row in rows if opinion in ("", row["verdict"])]
        if order == "priority":
            rows.sort(key=lambda row: (FAILED_URGENCY if row["urgency"] is None else 10 * row["urgency"],
                                       -(row["score"] or 0)))  # fmt: skip
        return rows[:QUEUE]

    def count_waiting(self) -> int:
        """Return the number of pictures that are not done."""
        with Session(self.engine) as session:
            query = select(func.count()).select_from(Picture).where(Picture.state.in_((WAITING, RUNNING)))
            return session.scalar(query) or 0

    def give_feedback(self, **answer: str) -> None:
        """Store feedback; columns as in `tables.Feedback`."""
        with Session(self.engine) as session, session.begin():
            session.add(Feedback(created=now(), **answer))

    def _reported(self) -> Any:
        """Return the condition that joins pictures with the latest reports on their bytes."""
        other = aliased(Report)
        latest = self._latest(select(other.settings).where(other.sha256 == Picture.sha256), other).correlate(Picture)
        return (Report.sha256 == Picture.sha256) & (Report.settings == latest.scalar_subquery())

    def _latest(self, query: Any, report: Any) -> Any:
        """Return a query of reports that gives that of this basis, or else that of the latest one before it."""
        return (
            query.outerjoin(Basis, Basis.digest == report.settings)
            .order_by(report.settings != self.settings, func.coalesce(Basis.number, 0).desc(), report.settings)
            .limit(1)
        )

    def _make_judged(self, digest: str, item: Mapping[str, Any]) -> Report:
        row = item["row"]
        faces = [
            {"box": list(map(int, face["box"].split())), "score": face["score"], "log10_lr": None, "interval": None,
             "opinion": face["verdict"], "reason": face["reason"]} for face in item["faces"]
        ]  # fmt: skip
        faces.sort(key=lambda face: rank_suspicion(face["opinion"], face["score"], face["reason"]), reverse=True)
        ruled = not (faces and faces[0]["reason"])
        return Report(
            sha256=digest, settings=self.settings, opinion=item["opinion"], urgency=URGENT[item["opinion"]],
            score=row["score"], log10_lr=None, record="", phash=item["phash"], thumbnail=item["jpeg"],
            statement=as_text(describe_row(row["verdict"], row["reason"], item["declared"], ruled=ruled)),
            judgement=json.dumps({"width": row["width"], "height": row["height"], "faces": faces}),
        )  # fmt: skip

    def _add(self, taken: Sequence[Taken], add: Callable[[Session, Mapping[str, Report]], None]) -> None:
        """Add reports and mark pictures as done. add: is called with a session and the reports on their bytes."""
        for last in (False, True):
            try:
                with Session(self.engine) as session, session.begin():
                    add(session, self._known(session, taken))
                    session.flush()
                    self._close(session, taken)
                return
            except IntegrityError:  # another worker finished the same bytes meanwhile
                if last:
                    raise

    def _known(self, session: Session, taken: Sequence[Taken]) -> dict[str, Report]:
        """Return the reports on the bytes of some pictures, without their thumbnails."""
        digests = {t.sha256 for t in taken}
        query = select(Report).where(Report.sha256.in_(digests), Report.settings == self.settings)
        return {r.sha256: r for r in session.scalars(query.options(defer(Report.thumbnail), defer(Report.judgement)))}

    def _close(self, session: Session, taken: Sequence[Taken]) -> None:
        if taken:
            session.execute(update(Picture), [
                {"job_id": t.job_id, "position": t.position, "state": DONE} for t in taken
            ])  # fmt: skip

    def _mark(self, taken: Sequence[Taken], event: tuple[str, Mapping[str, Any]] | None = None, **values: Any) -> None:
        """Change those of some pictures that are still running. event: is entered in the custody log if any is."""
        keys = tuple_(Picture.job_id, Picture.position).in_([(t.job_id, t.position) for t in taken])
        with Session(self.engine) as session, session.begin():
            done = session.execute(update(Picture).where(keys, Picture.state == RUNNING).values(**values),
                                   execution_options={"synchronize_session": False})  # fmt: skip
            if event is not None and done.rowcount:  # type: ignore[attr-defined]
                append_entry(session, *event, self._key)
