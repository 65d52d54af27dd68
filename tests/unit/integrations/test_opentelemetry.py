"""`aiocreds.integrations.opentelemetry`, as the SDK's own exporter and reader see it."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aiocreds import SourceUnavailable, __version__
from aiocreds.integrations import opentelemetry
from aiocreds.integrations.opentelemetry import instrument
from tests.helpers.scripted import Source, issue, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import time_machine

ADVISORY, MANDATORY = 3000.0, 3550.0  # of an hour
Points = dict[str, dict[tuple[str, ...], Any]]


class Telemetry:
    """An SDK that keeps what it gets.

    Attributes:
        tracers: makes the spans.
        reader: has the metrics.
    """

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.end = self.instrument()

    def instrument(self, *, link: bool = False) -> Callable[[], None]:
        return instrument(tracer_provider=self.tracers, meter_provider=self.meters, link=link)

    def spans(self) -> list[ReadableSpan]:
        """What has ended since the last time."""
        spans = [*self._exporter.get_finished_spans()]
        self._exporter.clear()
        return spans

    def points(self) -> Points:
        """By the name of the metric and the values of the attributes: a number, or the count of a histogram."""
        found: Points = {}
        data = self.reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            for point in metric.data.data_points:
                values = tuple(str(value) for _, value in sorted((point.attributes or {}).items()))
                number = point.value if isinstance(point, NumberDataPoint) else point.count
                found.setdefault(metric.name, {})[values] = number
        return found


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.end()
    telemetry.tracers.shutdown()
    telemetry.meters.shutdown()


async def test_a_refresh_is_a_span_without_a_parent(telemetry: Telemetry) -> None:
    provider = Source().provider(name="ours")
    with telemetry.tracers.get_tracer("program").start_as_current_span("request"):
        held = await provider()
    span, request = telemetry.spans()
    assert (span.name, request.name) == ("refresh ours", "request")
    assert span.parent is None
    assert span.context is not None
    assert request.context is not None
    assert span.context.trace_id != request.context.trace_id
    assert list(span.links) == []
    assert (span.kind, span.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert held.expiration is not None
    assert span.attributes == {
        "aiocreds.provider": "ours",
        "aiocreds.background": False,
        "aiocreds.outcome": "succeeded",
        "aiocreds.credentials.expiration": held.expiration.isoformat(),
    }
    assert span.instrumentation_scope is not None
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("aiocreds", __version__)


async def test_a_span_may_be_linked_to_the_caller(telemetry: Telemetry) -> None:
    telemetry.end()
    telemetry.end = telemetry.instrument(link=True)
    provider = Source().provider(name="ours")
    with telemetry.tracers.get_tracer("program").start_as_current_span("request") as request:
        await provider()
    await provider.fetch()
    linked, _, alone = telemetry.spans()
    [link] = linked.links
    assert link.context == request.get_span_context()
    assert linked.parent is None
    assert list(alone.links) == []


async def test_a_failure_has_its_type_and_its_message_and_no_traceback(telemetry: Telemetry) -> None:
    provider = Source(OSError(5)).provider(name="ours")
    with pytest.raises(SourceUnavailable) as raised:
        await provider()
    [span] = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(raised.value)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "SourceUnavailable"
    assert span.attributes["aiocreds.outcome"] == "failed"
    assert list(span.events) == []
    assert telemetry.points()["aiocreds.refreshes"] == {("failed", "ours", "SourceUnavailable"): 1}


async def test_a_background_refresh_and_one_that_is_given_up(
    clock: time_machine.Traveller, telemetry: Telemetry
) -> None:
    source = Source()
    provider = source.provider(name="ours")
    source.gate = asyncio.Event()
    caller = asyncio.create_task(provider())
    await settle()
    caller.cancel()
    await asyncio.wait([caller])
    source.gate.set()
    await provider()
    clock.shift(ADVISORY)
    await provider()
    await settle()
    got = [
        (span.attributes["aiocreds.outcome"], span.attributes["aiocreds.background"])
        for span in telemetry.spans()
        if span.attributes is not None
    ]
    assert got == [("given_up", False), ("succeeded", False), ("succeeded", True)]


async def test_metrics(clock: time_machine.Traveller, telemetry: Telemetry) -> None:
    source = Source(issue(), usual=lambda: SourceUnavailable("down"))
    provider = source.provider(name="ours")
    held = await provider()
    clock.shift(MANDATORY)
    await provider()
    provider.invalidate(held)
    points = telemetry.points()
    gauges = {name: points.pop(f"aiocreds.{name}") for name in ("credentials.remaining", "last_success.age")}
    assert points == {
        "aiocreds.refreshes": {("succeeded", "ours"): 1, ("failed", "ours", "SourceUnavailable"): 1},
        "aiocreds.refresh.duration": {("succeeded", "ours"): 1, ("failed", "ours", "SourceUnavailable"): 1},
        "aiocreds.wait.duration": {("ours",): 2},
        "aiocreds.served_stale": {("ours", "failing"): 1},
        "aiocreds.invalidations": {("ours",): 1},
    }
    assert gauges["credentials.remaining"]["ours",] == pytest.approx(50.0, abs=5.0)
    assert gauges["last_success.age"]["ours",] == pytest.approx(3550.0, abs=5.0)
    del provider
    gc.collect()
    assert "aiocreds.last_success.age" not in telemetry.points()


async def test_units_and_names_are_those_of_the_page(clock: time_machine.Traveller, telemetry: Telemetry) -> None:
    source = Source(issue(), usual=lambda: SourceUnavailable("down"))
    provider = source.provider(name="ours")
    await provider()
    clock.shift(MANDATORY)
    await provider()
    provider.invalidate()
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert scope.scope.name == "aiocreds"
    documented = re.findall(r"^(aiocreds\.\S+) +[a-z ]+?  +(\S+)", opentelemetry.__doc__ or "", re.MULTILINE)
    assert {(metric.name, metric.unit) for metric in scope.metrics} == set(documented)
    [bounds] = {
        tuple(point.explicit_bounds)  # type: ignore[union-attr]  # of a histogram
        for metric in scope.metrics
        if metric.name.endswith(".duration")
        for point in metric.data.data_points
    }
    assert bounds[0] < 0.01
    assert bounds[-1] == 60.0


async def test_it_ends(telemetry: Telemetry) -> None:
    provider = Source().provider(name="ours")
    await provider()
    telemetry.spans()
    telemetry.end()
    await provider.fetch()
    assert telemetry.spans() == []
    points = telemetry.points()
    assert points["aiocreds.refreshes"] == {("succeeded", "ours"): 1}
    assert "aiocreds.last_success.age" not in points


async def test_without_an_sdk_it_does_nothing() -> None:
    end = instrument()
    try:
        await Source().provider()()
    finally:
        end()
