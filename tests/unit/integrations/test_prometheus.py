"""`aiocreds.integrations.prometheus`, as a scrape sees it: the text of the client, read by its own parser."""

# pyright: reportPrivateUsage=false
# A listener that nobody hears of can be seen in no other way.

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aiocreds import CredentialsNotFound, LoginRequired, SourceUnavailable, chain, events
from aiocreds.integrations import prometheus
from aiocreds.integrations.prometheus import instrument
from tests.helpers.scripted import Source, issue, settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    import time_machine

DOWN = SourceUnavailable("down")
MANDATORY = 3550.0  # of an hour
Samples = dict[tuple[str, str], float]


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    end = instrument(registry)
    yield registry
    end()


def scrape(registry: CollectorRegistry) -> Samples:
    """The samples by name and labels, such as `failed ours`; labels in the order of their names."""
    found: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                labels = " ".join(value for _, value in sorted(sample.labels.items()))
                found[sample.name, labels] = sample.value
    return found


async def test_refreshes_are_counted_by_outcome_and_failures_by_type(registry: CollectorRegistry) -> None:
    provider = Source(DOWN, LoginRequired("ended", command="sign-in")).provider(name="ours")
    for error in SourceUnavailable, LoginRequired:
        with pytest.raises(error):
            await provider.fetch()
    await provider.fetch()
    other = Source().provider(name="other")
    await other()
    got = scrape(registry)
    assert got["aiocreds_refreshes_total", "failed ours"] == 2
    assert got["aiocreds_refreshes_total", "succeeded ours"] == 1
    assert got["aiocreds_refreshes_total", "succeeded other"] == 1
    assert got["aiocreds_refresh_failures_total", "SourceUnavailable ours"] == 1
    assert got["aiocreds_refresh_failures_total", "LoginRequired ours"] == 1
    assert got["aiocreds_refresh_duration_seconds_count", "ours"] == 3
    assert got["aiocreds_wait_duration_seconds_count", "ours"] == 3
    assert got["aiocreds_refresh_duration_seconds_bucket", "+Inf ours"] == 3


async def test_the_gauges_are_of_the_moment_of_the_scrape(
    clock: time_machine.Traveller, registry: CollectorRegistry
) -> None:
    provider = Source().provider(name="ours")
    await provider()
    clock.shift(600.0)
    got = scrape(registry)
    assert got["aiocreds_credentials_remaining_seconds", "ours"] == pytest.approx(3000.0, abs=5.0)
    assert got["aiocreds_last_success_age_seconds", "ours"] == pytest.approx(600.0, abs=5.0)


async def test_of_several_providers_of_a_name_the_gauges_show_the_worst(
    clock: time_machine.Traveller, registry: CollectorRegistry
) -> None:
    worse = Source(usual=lambda: issue(1800)).provider(name="ours")
    await worse()
    clock.shift(60.0)
    better = Source().provider(name="ours")
    await better()
    forever = Source(usual=lambda: issue(None)).provider(name="forever")
    await forever()
    got = scrape(registry)
    assert got["aiocreds_credentials_remaining_seconds", "ours"] == pytest.approx(1740.0, abs=5.0)
    assert got["aiocreds_last_success_age_seconds", "ours"] == pytest.approx(60.0, abs=5.0)
    assert ("aiocreds_credentials_remaining_seconds", "forever") not in got
    assert ("aiocreds_last_success_age_seconds", "forever") in got
    del worse
    gc.collect()
    assert scrape(registry)["aiocreds_last_success_age_seconds", "ours"] == pytest.approx(0.0, abs=5.0)


async def test_stale_credentials_and_invalidations_are_counted(
    clock: time_machine.Traveller, registry: CollectorRegistry
) -> None:
    source = Source(issue(), usual=lambda: DOWN)
    provider = source.provider(name="ours")
    held = await provider()
    clock.shift(MANDATORY)
    await provider()
    await provider()
    assert scrape(registry)["aiocreds_served_stale_total", "ours failing"] == 2
    provider.invalidate(held)
    await provider()
    got = scrape(registry)
    assert got["aiocreds_served_stale_total", "ours rejected"] == 1
    assert got["aiocreds_invalidations_total", "ours"] == 1


async def test_a_refresh_that_everybody_left_is_given_up(registry: CollectorRegistry) -> None:
    source = Source()
    provider = source.provider(name="ours")
    source.gate = asyncio.Event()
    caller = asyncio.create_task(provider())
    await settle()
    caller.cancel()
    await asyncio.wait([caller])
    got = scrape(registry)
    assert got["aiocreds_refreshes_total", "given_up ours"] == 1
    assert ("aiocreds_credentials_remaining_seconds", "ours") not in got


async def test_names_follow_the_conventions_and_labels_hold_no_key(registry: CollectorRegistry) -> None:
    provider = chain(Source(CredentialsNotFound("no")).provider(name="empty"), Source().provider(name="full"))
    held = await provider()
    provider.invalidate()
    text = generate_latest(registry).decode()
    assert held.access_key_id not in text
    assert "****" not in text
    for kind, name in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        assert kind.startswith("aiocreds_")
        if not kind.endswith("_created"):
            assert kind.endswith("_total") == (name == "counter"), kind
            assert kind.endswith("_seconds") == (name != "counter"), kind
    documented = set(re.findall(r"^(aiocreds_\w+) ", prometheus.__doc__ or "", re.MULTILINE))
    assert documented == {it for it in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if "_created" not in it}


async def test_it_ends_and_may_begin_again() -> None:
    registry = CollectorRegistry()
    end = instrument(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        instrument(registry)
    end()
    end()
    await Source().provider()()
    assert generate_latest(registry) == b""
    assert events._everywhere == []
    instrument(registry)()


def test_several_processes_add_up(tmp_path: object) -> None:
    worker = """
import asyncio
from aiocreds import Credentials, Provider
from aiocreds.integrations.prometheus import instrument
instrument()
async def source(): return Credentials("AKIAEXAMPLE1", "x")
asyncio.run(Provider(source, name="ours")())
"""
    scraper = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", worker], check=True, env=environ, timeout=60)
    run = subprocess.run(
        [sys.executable, "-c", scraper], check=True, env=environ, timeout=60, capture_output=True, text=True
    )
    assert 'aiocreds_refreshes_total{outcome="succeeded",provider="ours"} 2.0' in run.stdout
    assert 'aiocreds_wait_duration_seconds_count{provider="ours"} 2.0' in run.stdout
    assert "remaining" not in run.stdout
