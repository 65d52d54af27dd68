"""The parts of a target, and what several targets need."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aiocreds.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from hypothesis.strategies import SearchStrategy

    Shape = Callable[[int], bytes]  # an input of about that many pieces

LONG = 20_000  # nested so deeply, JSON is more than Python takes
SHARED_DATA = Path(__file__).parents[3] / "../shared/data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something of the library that reads what others wrote.

    Attributes:
        feed: gives it an input. An error of our tree is a good answer; any other exception is a finding, and an
            ``AssertionError`` says what else is wrong.
        inputs: draws inputs that get far.
        seeds: inputs to begin with.
        words: what such inputs are made of, for mutations to put in.
        growing: nasty inputs of any length, by their shape.
        alone: `feed` without a peer's work, to see how time grows with the length of an input.
    """

    feed: Callable[[bytes], None]
    inputs: SearchStrategy[bytes]
    seeds: Sequence[bytes] = ()
    words: Sequence[bytes] = ()
    growing: Mapping[str, Shape] = field(default_factory=dict[str, "Shape"])
    alone: Callable[[bytes], None] | None = None

    def known(self) -> Iterator[bytes]:
        """The inputs that need no engine: seeds, words, and one of each shape that grows."""
        yield from self.seeds
        yield from self.words
        if self.alone is None:  # a peer may take quadratic time
            for make in self.growing.values():
                yield make(LONG)

    def run(self, data: bytes) -> None:
        """Give it an input; what comes out is a finding."""
        with suppress(CredentialsError):
            self.feed(data)

    def measure(self, data: bytes) -> None:
        """The same, for a clock to look at; what comes out is told elsewhere."""
        with suppress(Exception):
            (self.alone or self.feed)(data)


def published(name: str) -> list[Any]:
    """The reference cases of that name; none where they do not lie beside the project."""
    file = SHARED_DATA / name
    cases: Any = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    if isinstance(cases, dict):
        cases = cast("dict[str, Any]", cases)["tests"]
    return cast("list[Any]", cases)


def within(kind: str, shapes: Mapping[str, Shape], put: Callable[[bytes], bytes]) -> dict[str, Shape]:
    """The same shapes inside something of this kind."""

    def around(make: Shape) -> Shape:
        return lambda n: put(make(n))

    return {f"{kind}: {shape}": around(make) for shape, make in shapes.items()}


def assert_tidy(error: CredentialsError) -> None:
    """Check that the text of an error is one line that can be shown."""
    assert str(error).isprintable(), error


def text(data: bytes) -> str:
    """Bytes as Python reads variables and paths: what is no UTF-8 becomes lone surrogates."""
    return data.decode(errors="surrogateescape")


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """Stand in for the library's threads."""
    return function(*arguments)


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits; a loop would take longer than the coroutine."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("it waits for something")
