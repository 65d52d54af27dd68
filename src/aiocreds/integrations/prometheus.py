"""Prometheus: metrics of all providers of a process.

::

    from aiocreds.integrations.prometheus import instrument

    instrument()  # before the first provider is asked

======================================== ========= =======================================
metric                                   kind      labels
======================================== ========= =======================================
aiocreds_refreshes_total                 counter   provider, outcome
aiocreds_refresh_failures_total          counter   provider, error_type
aiocreds_refresh_duration_seconds        histogram provider
aiocreds_wait_duration_seconds           histogram provider
aiocreds_served_stale_total              counter   provider, reason
aiocreds_invalidations_total             counter   provider
aiocreds_credentials_remaining_seconds   gauge     provider
aiocreds_last_success_age_seconds        gauge     provider
======================================== ========= =======================================

``provider`` is its name; of several of one name, the gauges show the one that expires first and the one whose last
success is oldest. ``outcome`` is ``succeeded``, ``failed`` or ``given_up``; ``error_type`` the class of the error;
``reason`` that of :class:`aiocreds.events.ServedStale`. No label has a key or an account.

In prometheus_client's multiprocess mode, counters and histograms add up over the workers; the two gauges are read
when they are asked for and need the provider's own process, so they are missing there.

Install with ``pip install 'aiocreds[prometheus]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds.events import Event, Failed, Invalidated, ServedStale, Started, Succeeded, Waited, listen
from aiocreds.integrations._extras import require
from aiocreds.integrations._gauges import Gauges

require("prometheus_client", "prometheus")

from prometheus_client import REGISTRY, Counter, Histogram  # noqa: E402 - once it is known to be there
from prometheus_client.core import GaugeMetricFamily  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry

# From an environment variable to a credential process that asks a person.
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


def instrument(registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Keep metrics of all providers of this process from now on.

    A provider is in the gauges from its first event on, and as long as it lives.

    Args:
        registry: where the metrics are registered.

    Returns:
        a function that ends it and takes the metrics out of the registry.

    Raises:
        ValueError: the registry has them already.
    """
    metrics = _Metrics(registry)
    stop = listen(metrics)

    def end() -> None:
        stop()
        metrics.unregister()

    return end


class _Metrics:
    """The listener, and the collector of the gauges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._gauges = Gauges()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"aiocreds_{name}", what, ("provider", *labels), registry=registry)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(f"aiocreds_{name}", what, ("provider",), registry=registry, buckets=BUCKETS)

        self._refreshes = counter("refreshes_total", "Calls of a source that have ended.", "outcome")
        self._failures = counter("refresh_failures_total", "Calls of a source that have failed.", "error_type")
        self._durations = histogram("refresh_duration_seconds", "How long calls of a source took.")
        self._waits = histogram("wait_duration_seconds", "How long callers waited for a source.")
        self._stale = counter("served_stale_total", "Calls that were served stale credentials.", "reason")
        self._invalidations = counter("invalidations_total", "Credentials that a service has rejected.")
        self._registered: list[Counter | Histogram | _Metrics] = [
            self._refreshes,
            self._failures,
            self._durations,
            self._waits,
            self._stale,
            self._invalidations,
            self,
        ]
        registry.register(self)

    def __call__(self, event: Event) -> None:
        self._gauges.add(event.origin)
        name = event.provider
        if isinstance(event, Started):
            return
        if isinstance(event, Waited):
            self._waits.labels(name).observe(event.duration)
        elif isinstance(event, ServedStale):
            self._stale.labels(name, event.reason).inc()
        elif isinstance(event, Invalidated):
            self._invalidations.labels(name).inc()
        else:
            self._durations.labels(name).observe(event.duration)
            if isinstance(event, Succeeded):
                self._refreshes.labels(name, "succeeded").inc()
            elif isinstance(event, Failed):
                self._refreshes.labels(name, "failed").inc()
                self._failures.labels(name, event.error_type).inc()
            else:
                self._refreshes.labels(name, "given_up").inc()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges without values, so that the registry knows their names."""
        yield _gauge("credentials_remaining_seconds", "Until credentials expire; negative after that.")
        yield _gauge("last_success_age_seconds", "Since the source last gave credentials.")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges with their values of this moment."""
        for gauge, values in zip(self.describe(), (self._gauges.seconds_left(), self._gauges.ages()), strict=True):
            for name, seconds in values.items():
                gauge.add_metric([name], seconds)
            yield gauge

    def unregister(self) -> None:
        """Take all out of the registry; nothing where that has been done."""
        while self._registered:
            self._registry.unregister(self._registered.pop())


def _gauge(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"aiocreds_{name}", what, labels=("provider",))
