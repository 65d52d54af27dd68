"""The providers that events came from, for gauges that are read at any time and from any thread."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiocreds._core.provider import Provider


class Known:
    """Providers, as long as they live. Changed and copied in atomic steps: they live in any thread."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, ref[Provider]] = {}

    def add(self, provider: Provider) -> None:
        """Know a provider from now on."""
        known = self._known.get(id(provider))
        if known is None or known() is not provider:
            self._known[id(provider)] = ref(provider)

    def seconds_left(self) -> dict[str, float]:
        """Return by provider name the seconds until credentials expire; of several of a name, the least."""
        return self._by_name(lambda it: it._state.expires_at - it._clock.now(), min)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as `status`

    def ages(self) -> dict[str, float]:
        """Return by provider name the seconds since the source last succeeded; of several of a name, the most."""
        return self._by_name(lambda it: it._clock.now() - it._state.loaded_at, max)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as `status`

    def _by_name(
        self, measure: Callable[[Provider], float], choose: Callable[[float, float], float]
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        for provider in self._alive():
            value = measure(provider)
            if abs(value) != inf:  # nothing is loaded, or it never expires
                found[provider.name] = choose(found.get(provider.name, value), value)
        return found

    def _alive(self) -> Iterator[Provider]:
        for number, known in list(self._known.items()):
            if (provider := known()) is not None:
                yield provider
            elif self._known.get(number) is known:
                self._known.pop(number, None)
