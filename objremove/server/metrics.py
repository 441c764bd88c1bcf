"""Counters for Prometheus: requests, latency, what was refused, the line, and memory."""

from __future__ import annotations

from collections.abc import Callable

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "objremove_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "objremove_request_seconds",
            "Seconds to the end of the answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.rejected = Counter(
            "objremove_rejected", "Requests refused, by status.", ["status"], registry=self.registry
        )
        memory = Gauge("objremove_memory_bytes", "Resident memory of the server.", registry=self.registry)
        process = psutil.Process()
        memory.set_function(lambda: float(process.memory_info().rss))

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that asks for its value."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request has been answered."""
        self.requests.labels(route, method, str(status)).inc()
        self.latency.labels(route).observe(seconds)
        if status in (408, 413, 421, 429, 503) or status in (401, 403):
            self.rejected.labels(str(status)).inc()

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
