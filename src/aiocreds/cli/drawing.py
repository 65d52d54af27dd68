"""How ``aiocreds explain`` looks: what is wrong or who wins, the tree, and whose credentials they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiocreds.errors import ChainExhausted, CredentialsError, CredentialsNotFound, ServiceRefused
from aiocreds.tree import Drawing, Line, ends, left_of, message, signs_in, title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocreds.cli.explain import Report
    from aiocreds.explanation import Step

TELLING = re.compile(r"\d+ profiles?|.*\banswered \d.*")  # there is something, although it is no credentials
NO_REGION = "none is set: write one into the profile, or set AWS_REGION"
REMEDY = (
    "On a laptop, sign in with aws login, or run aws configure sso where your organization has IAM Identity Center;"
    " or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. On AWS, give the instance, task or pod a role."
)


def draw(report: Report, width: int, *, encoding: str | None) -> Iterator[Line]:
    """The report, line by line; what is wrong comes first."""
    drawing = _Drawing(report, width, encoding)
    yield from drawing.verdict()
    yield []
    yield from drawing.tree(report.explanation.step)
    if report.check is not None:
        yield from drawing.tree(report.check)
    if rows := list(drawing.rows()):
        yield []
        yield from rows


class _Drawing(Drawing):
    def __init__(self, report: Report, width: int, encoding: str | None) -> None:
        chain = "default chain" if report.default else "chain"
        super().__init__(width, signs_in(encoding), home=report.home, above=report.error, chain=chain)
        self.report = report

    def verdict(self) -> Iterator[Line]:
        """What is wrong, or who wins; and what else is remarkable."""
        report, error = self.report, self.report.error
        identity, winner = report.explanation.identity, report.explanation.winner
        sign = self.signs.outcomes["found" if error is None else "failed"]
        if error is None and identity is not None and winner is not None:
            text = f"{title(winner.name)} wins: {self.who()}"
        elif identity is not None and winner is not None:
            trouble = (
                "STS does not accept them" if isinstance(error, ServiceRefused) else "they could not be checked"
            )
            text = f"{title(winner.name)} has credentials ({identity.key}), but {trouble}: {error}"
        else:
            text = _cause(error, report.explanation.step)
        style = "bold green" if error is None else "bold red"
        yield from self.paragraph(text, style, first=f"{sign} ", rest="  ")
        if report.default and isinstance(error, ChainExhausted) and not _hints(report.explanation.step):
            yield from self.paragraph(REMEDY, "", first="  ", rest="  ")
        for warning in report.warnings:
            yield from self.paragraph(warning, "yellow", first="! ", rest="  ")

    def who(self) -> str:
        identity, caller = self.report.explanation.identity, self.report.caller
        if identity is None:
            return ""
        arn = caller.arn if caller else identity.role
        account = None if caller else identity.account
        left = "" if identity.seconds_left is None else left_of(identity.seconds_left)
        return ", ".join(filter(None, (arn, account and f"account {account}", f"key {identity.key}", left)))

    def rows(self) -> Iterator[Line]:
        """Whose credentials they are, and the region that goes with them."""
        identity, caller, region = self.report.explanation.identity, self.report.caller, self.report.region
        found: list[tuple[str, str | None]] = []
        if identity is not None:
            when = ends(identity)
            if identity.seconds_left is not None and identity.may_outlive_expiry:
                when += ", and may be used past that while the service is down"
            found += [
                ("account", caller.account if caller else identity.account),
                ("identity", caller.arn if caller else None),
                ("role", identity.role),
                ("key", identity.key),
                ("source", identity.source),
                ("expires", when.removeprefix("ends ").removeprefix("ended ")),
            ]
        if region is not None:
            found.append(("region", f"{region.found} ({region.place})" if region.found else NO_REGION))
        if identity is not None:
            unasked = "no: GetCallerIdentity was not called (--offline)" if not self.report.check else "no"
            found.append(("confirmed", "by GetCallerIdentity" if caller else unasked))
        for name, value in found:
            if value:
                yield from self.paragraph(value, "", first=f"{name:9}  ", rest=" " * 11)


def _cause(error: CredentialsError | None, step: Step) -> str:
    if isinstance(error, ChainExhausted):
        asked = sum(inner.outcome != "not asked" for inner in step.steps)
        return f"no credentials: none of the {asked} sources has any{''.join(_hints(step))}"
    if isinstance(error, CredentialsNotFound):
        return f"no credentials: {_told(error)}"
    return "" if error is None else _told(error)


def _hints(step: Step) -> list[str]:
    """What the sources say that found something, although it is no credentials."""
    return [
        f"; {_told(it.error)}"
        for it in step.steps
        if it.error is not None and any(TELLING.fullmatch(look.found) for look in it.looked_at)
    ]


def _told(error: CredentialsError) -> str:
    """What an error says, with its source in plain words."""
    return f"{title(error.provider)}: {message(error)}" if error.provider else str(error)
