"""The rules find what breaks them: stories that no provider should ever tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Credentials, LoginRequired, SourceUnavailable
from tests.helpers.scripted import START
from tests.helpers.secret_leaks import secret
from tests.stress.faults.faults import FAULTS, Fault
from tests.stress.faults.rules import broken
from tests.stress.faults.sources import FOLDER, HOUR, SUBJECTS, Subject
from tests.stress.faults.story import Call, Story, Trip

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.slow

STAMPED = next(subject for subject in SUBJECTS if subject.name == "from_http")
PROGRAM = next(subject for subject in SUBJECTS if subject.name == "from_process")
HANG, MISLABELLED = (fault for fault in FAULTS if fault.name in ("accept and never answer", "wrong content type"))
ADVISORY, MANDATORY, EXPIRED = HOUR - 800, HOUR - 50, HOUR + 10  # of keys that live for an hour
DOWN, REFUSED = SourceUnavailable("down"), LoginRequired("sign in")


def keys(expires: float = HOUR, *, stamped: bool = True) -> Credentials:
    """Credentials that expire so many seconds after the start."""
    at = datetime.fromtimestamp(START + expires, UTC)
    return Credentials("ASIA1", secret("issued"), secret("session"), expiration=at, may_outlive_expiry=stamped)


KEYS = keys()


def trip(end: float, outcome: Credentials | BaseException = DOWN, *, took: float = 0.0) -> Trip:
    """A trip that ended so many seconds after the start."""
    done = Trip(START + end - took, START + end, took)
    if isinstance(outcome, Credentials):
        return replace(done, brought=outcome)
    return replace(done, error=outcome)


def call(at: float, got: Credentials | SourceUnavailable | LoginRequired = KEYS, waited: float = 0.0) -> Call:
    """A caller who came so many seconds after the start."""
    return Call(START + at, START + at + waited, waited, got)


def found(
    calls: Sequence[Call],
    *trips: Trip,
    subject: Subject = STAMPED,
    fault: Fault = HANG,
    requests: int = 0,
    spare: float = 0.0,
    astray: float = 0.0,
) -> str:
    """Return the findings of the rules in a story that began with a load at the start."""
    bench: Any = SimpleNamespace(spare_until=START + spare)
    loop: Any = None
    story = Story(loop, bench, list(calls), [trip(0.0, KEYS), *trips], earlier=1, requests=requests, astray=astray)
    return "; ".join(broken(subject, fault, story))


@pytest.mark.parametrize(
    ("calls", "trips"),
    [
        ([call(ADVISORY), call(ADVISORY + 299), call(ADVISORY + 301)], [trip(ADVISORY), trip(ADVISORY + 301)]),
        ([call(MANDATORY, waited=3.0), call(MANDATORY + 4)], [trip(MANDATORY + 5, took=5.0)]),
        ([call(EXPIRED, waited=3.0), call(EXPIRED + 6)], [trip(EXPIRED + 5, took=5.0)]),
        (
            [call(EXPIRED, REFUSED), call(EXPIRED + 2, REFUSED)],
            [trip(EXPIRED, REFUSED), trip(EXPIRED + 2, REFUSED)],
        ),
        ([call(ADVISORY), call(ADVISORY + 1)], [trip(ADVISORY, keys(ADVISORY + HOUR))]),
    ],
    ids=["advisory", "mandatory", "expired", "refused for good", "renewed"],
)
def test_what_is_allowed(calls: list[Call], trips: list[Trip]) -> None:
    assert found(calls, *trips) == ""


def test_an_error_while_credentials_are_valid() -> None:
    assert "while credentials are usable" in found([call(MANDATORY, DOWN)], trip(MANDATORY))


def test_an_error_while_credentials_may_outlive_their_expiry() -> None:
    assert "while credentials are usable" in found([call(EXPIRED, DOWN)], trip(EXPIRED))
    assert found([call(EXPIRED, DOWN)], trip(EXPIRED), subject=PROGRAM) == ""


def test_an_error_while_the_machine_holds_something_good() -> None:
    assert "while credentials are usable" in found([call(EXPIRED, REFUSED)], trip(EXPIRED, REFUSED), spare=2 * HOUR)


def test_an_error_though_the_fault_does_no_harm() -> None:
    ended = [call(EXPIRED, DOWN)], trip(EXPIRED)
    assert "while credentials are usable" in found(*ended, subject=PROGRAM, fault=MISLABELLED)


def test_a_caller_who_need_not_wait() -> None:
    assert "waited 0.50 s, and the budget is 0.00 s" in found([call(ADVISORY, waited=0.5)])


def test_a_caller_who_waits_in_a_back_off() -> None:
    calls = [call(EXPIRED), call(EXPIRED + 10, waited=0.5)]
    assert "waited 0.50 s, and the budget is 0.00 s" in found(calls, trip(EXPIRED))


def test_a_caller_who_waits_too_long() -> None:
    longest = PROGRAM.longest()
    ended = call(EXPIRED, DOWN, waited=longest), trip(EXPIRED + longest, took=longest)
    assert found([ended[0]], ended[1], subject=PROGRAM) == ""
    ended = call(EXPIRED, DOWN, waited=longest + 1), trip(EXPIRED + longest + 1, took=longest + 1)
    words = found([ended[0]], ended[1], subject=PROGRAM)
    assert "a caller waited 62.00 s, and the budget is 61.00 s" in words
    assert "a trip took 62.00 s, and the budget is 61.00 s" in words


@pytest.mark.parametrize(("subject", "at"), [(STAMPED, MANDATORY), (STAMPED, EXPIRED), (PROGRAM, MANDATORY)])
def test_a_caller_who_waits_for_long_with_something_to_serve(subject: Subject, at: float) -> None:
    words = found([call(at, waited=4.0)], trip(at + 5, took=5.0), subject=subject)
    assert "a caller waited 4.00 s, and the budget is 3.00 s" in words


def test_a_caller_who_waits_for_a_shared_store() -> None:
    def words(seconds: float, fault: Fault) -> str:
        asked = [call(EXPIRED, DOWN, waited=seconds)]
        return found(asked, trip(EXPIRED + seconds, took=seconds), subject=FOLDER, fault=fault)

    assert "because of the store" not in words(2.0, HANG)
    assert "a caller waited 3.00 s because of the store" in words(3.0, HANG)
    assert "because of the store" not in words(10.0, replace(HANG, lease=10.5))
    assert "a caller waited 11.00 s because of the store" in words(11.0, replace(HANG, lease=10.5))


def test_a_caller_who_waits_past_the_end_of_what_is_held() -> None:
    words = found([call(HOUR - 1, DOWN, waited=2.0)], trip(HOUR + 4, took=5.0), subject=PROGRAM)
    assert "a caller waited 2.00 s, and the budget is 1.00 s" in words


def test_an_error_once_the_service_has_refused_for_good_is_allowed_whatever_fails_later() -> None:
    asked = [call(MANDATORY), call(MANDATORY + 2), call(EXPIRED, DOWN), call(EXPIRED + 5, DOWN)]
    trips = [trip(MANDATORY, REFUSED), trip(MANDATORY + 2), trip(EXPIRED), trip(EXPIRED + 5)]
    assert found(asked, *trips) == ""


def test_a_machine_that_is_talked_into_another_time() -> None:
    assert "the time is wrong by 7200 s" in found([call(1.0)], astray=7200.0)


@pytest.mark.parametrize(
    ("subject", "at", "pause"),
    [(STAMPED, ADVISORY, 300), (STAMPED, EXPIRED, 300), (PROGRAM, ADVISORY, 300), (PROGRAM, MANDATORY, 5)],
)
def test_a_source_that_is_asked_too_early(subject: Subject, at: float, pause: float) -> None:
    asked = [call(at), call(at + pause)]
    assert found(asked, trip(at), trip(at + pause), subject=subject) == ""
    assert "0.50 s too early" in found(asked, trip(at), trip(at + pause - 0.5), subject=subject)


def test_good_credentials_that_are_fetched_anew() -> None:
    assert "too early" in found([call(100.0)], trip(100.0, KEYS))


def test_one_trip_for_each_caller() -> None:
    asked = [call(EXPIRED, REFUSED)] * 3
    trips = [trip(EXPIRED + number, REFUSED) for number in range(3)]
    assert "3 trips to the source, and callers came only 1 times" in found(asked, *trips)


def test_too_many_requests() -> None:
    once = [call(ADVISORY)], trip(ADVISORY)
    assert found(*once, requests=4) == ""
    assert "5 requests in 1 trips, and one may make 4" in found(*once, requests=5)


def test_credentials_that_nobody_handed_out() -> None:
    broken_keys = replace(KEYS, secret_access_key=KEYS.secret_access_key.replace("issued", "is\ufffdued"))
    assert "nobody has handed out" in found([call(1.0, broken_keys)])


@pytest.mark.shows_secrets("repr", because="that is what the rule is for")
def test_an_error_that_shows_a_secret() -> None:
    asked = [call(EXPIRED, LoginRequired(f"{secret()} is no good"))]
    assert found(asked, trip(EXPIRED, REFUSED)) == "a LoginRequired shows a secret"


def test_an_exception_that_is_none_of_ours() -> None:
    assert "the source raised ValueError('oh')" in found([call(ADVISORY)], trip(ADVISORY, ValueError("oh")))
