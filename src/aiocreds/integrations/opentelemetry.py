"""OpenTelemetry: spans and metrics of all providers of a process.

::

    from aiocreds.integrations.opentelemetry import instrument

    instrument()  # before the first provider is asked

Each refresh is a span ``refresh <provider>`` of kind INTERNAL. It has no parent: one refresh is for many callers,
and may run for none. With ``link=True`` it is linked to the span of the caller for whom it was started. Where the
source failed, its status is ERROR, with ``error.type`` and the error's message.

================================== ========================== ================ ============================
metric                             kind                       unit             attributes
================================== ========================== ================ ============================
aiocreds.refreshes                 counter                    {refresh}        aiocreds.outcome, error.type
aiocreds.refresh.duration          histogram                  s                aiocreds.outcome, error.type
aiocreds.wait.duration             histogram                  s
aiocreds.served_stale              counter                    {call}           aiocreds.stale.reason
aiocreds.invalidations             counter                    {invalidation}
aiocreds.credentials.remaining     observable gauge           s
aiocreds.last_success.age          observable gauge           s
================================== ========================== ================ ============================

All have ``aiocreds.provider``, the provider's name; of several of one name, the gauges show the one that expires
first and the one whose last success is oldest. ``aiocreds.outcome`` is ``succeeded``, ``failed`` or ``given_up``;
``error.type`` the class of the error, on failures alone; ``aiocreds.stale.reason`` that of
:class:`aiocreds.events.ServedStale`. Nothing has a key or an account.

Install with ``pip install 'aiocreds[opentelemetry]'``, and an SDK with the exporter that you use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiocreds
from aiocreds.events import Event, Failed, GivenUp, Invalidated, ServedStale, Started, Succeeded, Waited, listen
from aiocreds.integrations._extras import require
from aiocreds.integrations._gauges import Gauges

require("opentelemetry", "opentelemetry")

from opentelemetry import metrics, trace  # noqa: E402 - once it is known to be there
from opentelemetry.context import Context  # noqa: E402 - as above
from opentelemetry.metrics import Observation  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NAME = "aiocreds"  # of the instrumentation scope
PROVIDER, OUTCOME, ERROR_TYPE = "aiocreds.provider", "aiocreds.outcome", "error.type"
MOST_SPANS = 1000  # that are open; those of loops that were dropped in the middle never end
# From an environment variable to a credential process that asks a person.
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


def instrument(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    link: bool = False,
) -> Callable[[], None]:
    """Make spans and metrics of all providers of this process from now on.

    A provider is in the gauges from its first event on, and as long as it lives.

    Args:
        tracer_provider: of the spans; by default, the global one.
        meter_provider: of the metrics; by default, the global one.
        link: link the span of a refresh to that of the caller for whom it was started.

    Returns:
        a function that ends it; the instruments stay, without new values.
    """
    tracer = trace.get_tracer(NAME, aiocreds.__version__, tracer_provider)
    meter = metrics.get_meter(NAME, aiocreds.__version__, meter_provider)
    instruments = _Metrics(meter)
    stops = [listen(_Spans(tracer, link=link)), listen(instruments)]

    def end() -> None:
        instruments.ended = True
        for stop in stops:
            stop()

    return end


class _Spans:
    """The listener that makes spans."""

    def __init__(self, tracer: trace.Tracer, *, link: bool) -> None:
        self._tracer = tracer
        self._link = link
        self._open: dict[int, trace.Span] = {}  # by the number of the refresh

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Succeeded | Failed | GivenUp) and (span := self._open.pop(event.refresh, None)):
            for key, value in _outcome(event).items():
                span.set_attribute(key, value)
            if isinstance(event, Succeeded):
                if event.source is not None:
                    span.set_attribute("aiocreds.credentials.source", event.source)
                if event.expiration is not None:
                    span.set_attribute("aiocreds.credentials.expiration", event.expiration.isoformat())
            elif isinstance(event, Failed):  # not its traceback, whose causes are foreign and may hold anything
                span.set_status(trace.StatusCode.ERROR, str(event.error))
            span.end()

    def _start(self, event: Started) -> None:
        caller = trace.get_current_span().get_span_context()
        linked = self._link and caller.is_valid
        self._open[event.refresh] = self._tracer.start_span(
            f"refresh {event.provider}",
            context=Context(),
            attributes={PROVIDER: event.provider, "aiocreds.background": event.background},
            links=[trace.Link(caller)] if linked else None,
        )
        if len(self._open) > MOST_SPANS:
            self._open.pop(min(list(self._open)), None)


class _Metrics:
    """The listener that keeps the instruments.

    Attributes:
        ended: the gauges are to have no more values.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self.ended = False
        self._gauges = gauges = Gauges()
        self._refreshes = meter.create_counter(
            "aiocreds.refreshes", unit="{refresh}", description="Calls of a source that have ended."
        )
        self._durations = meter.create_histogram(
            "aiocreds.refresh.duration",
            unit="s",
            description="How long calls of a source took.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._waits = meter.create_histogram(
            "aiocreds.wait.duration",
            unit="s",
            description="How long callers waited for a source.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._stale = meter.create_counter(
            "aiocreds.served_stale", unit="{call}", description="Calls that were served stale credentials."
        )
        self._invalidations = meter.create_counter(
            "aiocreds.invalidations", unit="{invalidation}", description="Credentials that a service has rejected."
        )
        meter.create_observable_gauge(
            "aiocreds.credentials.remaining",
            [lambda _: self._observe(gauges.seconds_left())],
            unit="s",
            description="Until credentials expire; negative after that.",
        )
        meter.create_observable_gauge(
            "aiocreds.last_success.age",
            [lambda _: self._observe(gauges.ages())],
            unit="s",
            description="Since the source last gave credentials.",
        )

    def __call__(self, event: Event) -> None:
        self._gauges.add(event.origin)
        attributes = {PROVIDER: event.provider}
        if isinstance(event, Succeeded | Failed | GivenUp):
            attributes |= _outcome(event)
            self._refreshes.add(1, attributes)
            self._durations.record(event.duration, attributes)
        elif isinstance(event, Waited):
            self._waits.record(event.duration, attributes)
        elif isinstance(event, ServedStale):
            self._stale.add(1, {**attributes, "aiocreds.stale.reason": event.reason})
        elif isinstance(event, Invalidated):
            self._invalidations.add(1, attributes)

    def _observe(self, values: Mapping[str, float]) -> Iterable[Observation]:
        return [] if self.ended else [Observation(value, {PROVIDER: name}) for name, value in values.items()]


def _outcome(event: Succeeded | Failed | GivenUp) -> dict[str, str]:
    if isinstance(event, Succeeded):
        return {OUTCOME: "succeeded"}
    if isinstance(event, Failed):
        return {OUTCOME: "failed", ERROR_TYPE: event.error_type}
    return {OUTCOME: "given_up"}
