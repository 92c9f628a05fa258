"""What `/metrics` says, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Meters:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("detector_requests", "Requests.", ["method", "route", "status"], registry=self.registry)
        self.latency = Histogram("detector_request_seconds", "Time of requests.", ["route"], registry=self.registry)
        self.pictures = Counter("detector_pictures", "Pictures that were examined, by verdict.", ["verdict"],
                                registry=self.registry)  # fmt: skip
        self.examination = Histogram("detector_examination_seconds", "Time of examinations.", registry=self.registry)
        self.deaths = Counter("detector_worker_deaths", "Workers that ended for no known reason.",
                              registry=self.registry)  # fmt: skip
        self.waiting = Gauge("detector_waiting", "Pictures that wait or are being examined.", registry=self.registry)

    def write(self, waiting: int) -> bytes:
        """Return all of it as text."""
        self.waiting.set(waiting)
        return generate_latest(self.registry)
