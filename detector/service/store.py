"""The state of the service in its database: jobs, pictures, reports and feedback."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from detector.evidence.checks.duplicates import CLOSE
from detector.evidence.custody import now
from detector.evidence.folders import rank
from detector.files import as_text, sha256
from detector.pictures.fingerprints import distances
from detector.service.database import open_database
from detector.service.tables import DONE, FAILED, RUNNING, WAITING, Drawing, Feedback, Job, Picture, Report

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


class KeyReused(Exception):
    """An idempotency key that was used with another request before."""


class Store:
    """The database. settings: digest of what reports depend on besides pictures; reports with another are not shown."""

    def __init__(self, url: str, settings: str) -> None:
        self.engine = open_database(url)
        self.settings = settings

    def add_job(
        self, owner: str, uploads: Sequence[Upload], *, priority: int, request_id: str,
        idempotency_key: str | None = None,
    ) -> tuple[str, bool]:  # fmt: skip
        """Return (id of the job, whether it is new): the same idempotency key and pictures give the earlier job.

        Raises KeyReused if that key came with other pictures.
        """
        sent = json.dumps([priority, *([u.name, u.sha256] for u in uploads)]).encode()
        job = Job(id=str(uuid.uuid4()), owner=owner, idempotency_key=idempotency_key,
                  fingerprint=sha256(sent), request_id=request_id, priority=priority, created=now())  # fmt: skip
        chosen, fingerprint = job.id, job.fingerprint
        try:
            with Session(self.engine) as session, session.begin():
                session.add(job)
                session.flush()
                session.add_all(
                    Picture(job_id=chosen, position=i, name=u.name, sha256=u.sha256, size=u.size, state=WAITING)
                    for i, u in enumerate(uploads)
                )
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

    def take(self) -> Taken | None:
        """Return the next waiting picture and mark it as running; None if there is none."""
        query = (
            select(Picture, Job.request_id).join(Job).where(Picture.state == WAITING)
            .order_by(Job.priority, Job.created, Job.id, Picture.position).limit(1)
            .with_for_update(skip_locked=True, of=Picture)
        )  # fmt: skip
        with Session(self.engine) as session, session.begin():
            found = session.execute(query).first()
            if found is None:
                return None
            picture, request_id = found
            picture.state, picture.attempts = RUNNING, picture.attempts + 1
            return Taken(picture.job_id, picture.position, picture.name, picture.sha256, picture.attempts, request_id)

    def put_back(self, taken: Taken) -> None:
        """Put back a picture whose examination was interrupted from outside; the attempt does not count."""
        self._mark(taken, state=WAITING, attempts=taken.attempts - 1)

    def retry(self, taken: Taken) -> None:
        """Put back a picture for another attempt."""
        self._mark(taken, state=WAITING)

    def fail(self, taken: Taken, slug: str, detail: str) -> None:
        """Store the reason why a picture has no report."""
        self._mark(taken, state=FAILED, slug=slug, detail=as_text(detail))

    def finish(
        self, taken: Taken, record: Mapping[str, Any], row: Mapping[str, Any], drawings: Iterable[Mapping[str, Any]]
    ) -> None:
        """Store a report, unless these bytes have one, and mark the picture as done in the same transaction.

        row: as `evidence.folders.summarise`, with the perceptual hash of the picture as `phash`, empty if it has none.
        """
        faces = next(f["details"]["faces"] for f in record["findings"] if f["check"] == "detector")
        key = {"sha256": taken.sha256, "settings": self.settings}
        report = Report(
            **key, opinion=row["opinion"], urgency=rank(row)[0], score=faces[0]["score"] if faces else None,
            log10_lr=row["log10_lr"], statement=as_text(row["statement"]), thumbnail=base64.b64decode(row["jpeg"]),
            record=json.dumps(record, sort_keys=True), phash=row["phash"],
        )  # fmt: skip
        drawn = [Drawing(**key, number=i, **drawing) for i, drawing in enumerate(drawings)]
        try:
            with Session(self.engine) as session, session.begin():
                if session.get(Report, (taken.sha256, self.settings)) is None:
                    session.add(report)
                    session.flush()
                    session.add_all(drawn)
                self._done(session, taken)
        except IntegrityError:  # another worker finished the same bytes meanwhile
            with Session(self.engine) as session, session.begin():
                self._done(session, taken)

    def finish_known(self, taken: Taken) -> str | None:
        """Mark a picture as done if its bytes have a report, and return the opinion; None if there is no report."""
        with Session(self.engine) as session, session.begin():
            report = session.get(Report, (taken.sha256, self.settings))
            if report is None:
                return None
            self._done(session, taken)
            return report.opinion

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
        """Return the report on bytes that this owner sent; None if there is none."""
        sent = select(Picture.job_id).join(Job).where(Job.owner == owner, Picture.sha256 == digest).limit(1)
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get(Report, (digest, self.settings)) if session.execute(sent).first() else None

    def read_drawings(self, digest: str) -> list[Drawing]:
        """Return the drawings of a report in their order."""
        query = select(Drawing).filter_by(sha256=digest, settings=self.settings).order_by(Drawing.number)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def list_similar(self, owner: str, report: Report) -> list[dict[str, Any]]:
        """Return the pictures of this owner that are near duplicates of an examined one, the closest first.

        Each has its report, its name, and the share of bits of the perceptual hash that differ. Of the pictures that
        came last, `20 * QUEUE` are compared.
        """
        if not report.phash:
            return []
        query = (
            select(Report.sha256, Report.phash, func.max(Picture.name)).join(Picture, self._reported()).join(Job)
            .where(Job.owner == owner, Report.phash != "", Report.sha256 != report.sha256)
            .group_by(Report.sha256, Report.phash).order_by(func.max(Job.created).desc()).limit(20 * QUEUE)
        )  # fmt: skip
        with Session(self.engine, expire_on_commit=False) as session:
            rows = list(session.execute(query))
            shares = distances(report.phash, [phash for _, phash, _ in rows])
            near = sorted((share, digest, name) for share, (digest, _, name) in zip(shares, rows, strict=True)
                          if share <= CLOSE[256])[:SIMILAR]  # fmt: skip
            return [{"report": session.get(Report, (digest, self.settings)), "name": name, "share": float(share)}
                    for share, digest, name in near]  # fmt: skip

    def list_queue(self, owner: str, opinion: str = "", order: str = "priority") -> list[dict[str, Any]]:
        """Return the rows of the page: each picture that this owner sent once, the most urgent or the newest first.

        opinion: of the rows, or a state; empty for all.
        """
        query = (
            select(Picture.name, Picture.sha256, Picture.state, Picture.detail, Job.created, Report.opinion,
                   Report.urgency, Report.log10_lr, Report.score, Report.statement)
            .join(Job).outerjoin(Report, self._reported()).where(Job.owner == owner)
            .order_by(Job.created.desc(), Picture.position).limit(20 * QUEUE)
        )  # fmt: skip
        with Session(self.engine) as session:
            found = [dict(row._mapping) for row in session.execute(query)]
            given = select(Feedback.sha256, Feedback.answer).where(Feedback.owner == owner).order_by(Feedback.id)
            answers = {digest: answer for digest, answer in session.execute(given)}
        rows = list({row["sha256"]: row for row in reversed(found)}.values())[::-1]
        for row in rows:
            row["verdict"] = row["opinion"] or ("error" if row["state"] == FAILED else WAITING)
            row["answer"] = answers.get(row["sha256"], "")
        rows = [row for row in rows if opinion in ("", row["verdict"])]
        if order == "priority":
            rows.sort(key=lambda row: (FAILED_URGENCY if row["urgency"] is None else 10 * row["urgency"],
                                       -(row["log10_lr"] or 0)))  # fmt: skip
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
        return (Report.sha256 == Picture.sha256) & (Report.settings == self.settings)

    def _done(self, session: Session, taken: Taken) -> None:
        session.execute(update(Picture).filter_by(job_id=taken.job_id, position=taken.position).values(state=DONE))

    def _mark(self, taken: Taken, **values: Any) -> None:
        with Session(self.engine) as session, session.begin():
            session.execute(update(Picture).filter_by(job_id=taken.job_id, position=taken.position).values(**values))
