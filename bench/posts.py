"""Measure how long a POST takes, at a steady rate of submissions."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from urllib.parse import urlsplit

PACE = 0.1
"""Seconds from one POST to the next. Ten per second, each with its download, are far more than people submit."""


class Poster:
    """Submits one small image over and over. The stack has tiled it before, so each POST costs only a download."""

    def __init__(self, server: str, source_url: str) -> None:
        self._server = urlsplit(server)
        self._body = json.dumps({"name": "bench", "url": source_url})

    def until(self, over: threading.Event, least: int) -> list[float]:
        """Submit until `over` is set, at least `least` times. Return the seconds of each answer."""
        connection = http.client.HTTPConnection(self._server.hostname or "", self._server.port, timeout=30)
        times: list[float] = []
        due = time.perf_counter()
        while len(times) < least or not over.is_set():
            begun = time.perf_counter()
            connection.request("POST", "/api/datasets", self._body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - begun)
            if answer.status != http.client.ACCEPTED:
                raise RuntimeError(f"the POST was answered with {answer.status}")
            due = max(due + PACE, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
        connection.close()
        return times


def percentile(times: list[float], percent: int) -> float:
    """Return a percentile of at least two times."""
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]
