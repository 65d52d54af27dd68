"""Gauges of the providers that events came from, which are read at any time and from any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiocreds._core.provider import Provider


class Gauges:
    """Values of providers, as long as these live. Changed and copied in atomic steps: they live in any thread."""

    __slots__ = ("_providers",)

    def __init__(self) -> None:
        self._providers: dict[int, ref[Provider]] = {}

    def add(self, provider: Provider) -> None:
        """Know a provider from now on."""
        known = self._providers.get(id(provider))
        if known is None or known() is not provider:
            self._providers[id(provider)] = ref(provider)

    def seconds_left(self) -> dict[str, float]:
        """Return by provider name the seconds until credentials expire; of several of a name, the least."""
        return self._by_name(lambda it: it.status.seconds_left, min)

    def ages(self) -> dict[str, float]:
        """Return by provider name the seconds since the source last succeeded; of several of a name, the most."""
        return self._by_name(_age, max)

    def _by_name(
        self, measure: Callable[[Provider], float | None], choose: Callable[[float, float], float]
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        for provider in self._alive():
            value = measure(provider)
            if value is not None:  # else nothing is loaded, or it never expires
                found[provider.name] = choose(found.get(provider.name, value), value)
        return found

    def _alive(self) -> Iterator[Provider]:
        for number, known in list(self._providers.items()):
            if (provider := known()) is not None:
                yield provider
            elif self._providers.get(number) is known:
                self._providers.pop(number, None)


def _age(provider: Provider) -> float | None:
    loaded_at = provider.status.loaded_at
    now = provider._context.clock.now()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - counts as the source does
    return None if loaded_at is None else now - loaded_at.timestamp()
