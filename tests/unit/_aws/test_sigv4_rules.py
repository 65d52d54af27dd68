"""The rules of Signature Version 4, one case each in our own words.

The cases that AWS publishes check the same rules with values of their own. They lie beside the project and are no
part of it; `CHECKED_BY` says which of them check which rule, and where they are at hand, that none is left over.
What is signed is spelled out; the signature over it is made here with nothing but HMAC.
"""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

from aiocreds._aws.sigv4 import canonical_query, presign, sign
from aiocreds.credentials import Credentials
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from pathlib import Path

HOST, REGION, SERVICE = "tea.example", "eu-north-1", "kettle"
STAMP = "20240229T235958Z"
AT = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).timestamp()
SCOPE = f"20240229/{REGION}/{SERVICE}/aws4_request"
SIGNED_SECRET, TOKEN = secret("key"), secret("token")
UNRESERVED = "-._~0189AZaz"
FORM = ("Content-Type", "application/x-www-form-urlencoded")


class Rule(NamedTuple):
    """A request, and what of it is signed.

    Attributes:
        target: path and query as a program writes them.
        path: the canonical path.
        query: the canonical query.
        lines: the canonical headers but for host, date, token and the hash of the body.
        token: the keys have one; False: and it is added unsigned.
    """

    target: str = "/"
    path: str = "/"
    query: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    body: bytes = b""
    normalize: bool = True
    sign_body: bool = False
    token: bool | None = None


RULES = {
    "nothing but a host": Rule(),
    "a method is signed": Rule(method="POST"),
    # Headers
    "a header that comes more than once is one line": Rule(
        headers=(("Cup", "two"), ("Cup", "two"), ("Cup", "one")), lines=("cup:two,two,one",)
    ),
    "the lines of a header are joined": Rule(
        headers=(("Cup", "one\n  two\n     three"),), lines=("cup:one two three",)
    ),
    "the values of a header keep their order": Rule(
        headers=(("Cup", "d"), ("Cup", "a"), ("Cup", "c")), lines=("cup:d,a,c",)
    ),
    "blanks around and within a value count once": Rule(
        headers=(("Cup", "  one "), ("Pot", ' "a   b  c"')), lines=("cup:one", 'pot:"a b c"')
    ),
    "names of headers are in lower case": Rule(method="POST", headers=(("CUP", "one"),), lines=("cup:one",)),
    "headers are sorted by name": Rule(
        method="POST", headers=(("Pot", "x"), ("Cup", "y")), lines=("cup:y", "pot:x")
    ),
    "values keep their case": Rule(method="POST", headers=(("Cup", "ONE"),), lines=("cup:ONE",)),
    # Paths
    "a step up is followed": Rule("/tea/.."),
    "a step up is left as it is": Rule("/tea/..", "/tea/..", normalize=False),
    "several steps up are followed": Rule("/tea/pot/../.."),
    "several steps up are left as they are": Rule("/tea/pot/../..", "/tea/pot/../..", normalize=False),
    "a dot is dropped": Rule("/./"),
    "a dot is left": Rule("/./", "/./", normalize=False),
    "a dot before a name is dropped": Rule("/./tea", "/tea"),
    "a dot before a name is left": Rule("/./tea", "/./tea", normalize=False),
    "two slashes are one": Rule("//"),
    "two slashes are left": Rule("//", "//", normalize=False),
    "slashes around a name are one each": Rule("//tea//", "/tea/"),
    "slashes around a name are left": Rule("//tea//", "//tea//", normalize=False),
    "a blank in a path is quoted": Rule("/green tea/", "/green%20tea/"),
    "a blank in a path that is left is quoted": Rule("/green tea/", "/green%20tea/", normalize=False),
    "unreserved characters of a path stay": Rule(f"/{UNRESERVED}", f"/{UNRESERVED}"),
    "other letters of a path are quoted": Rule("/茶", "/%E8%8C%B6"),
    # Queries
    "a query is signed": Rule("/?cup=one", query="cup=one"),
    "a query is signed with POST": Rule("/?cup=one", query="cup=one", method="POST"),
    "a query is sorted by its quoted names": Rule(
        "/?pot=p&cup-2=q&cup=r&%E8%8C%B6=s", query="%E8%8C%B6=s&cup=r&cup-2=q&pot=p"
    ),
    "names of a query are sorted by the case of their letters": Rule("/?b=1&B=2", query="B=2&b=1"),
    "unreserved characters of a query stay": Rule(f"/?{UNRESERVED}=x", query=f"{UNRESERVED}=x"),
    "other letters of a query are quoted": Rule("/?茶=x", query="%E8%8C%B6=x"),
    # Tokens
    "a token is signed": Rule(token=True),
    "a token is signed with POST": Rule(method="POST", token=True),
    "a token is added afterwards": Rule(method="POST", token=False),
    # Bodies
    "the hash of a form is signed": Rule(
        method="POST",
        headers=(FORM, ("Content-Length", "7")),
        lines=("content-length:7", "content-type:application/x-www-form-urlencoded"),
        body=b"cup=one",
        sign_body=True,
    ),
    "a type with parameters is signed as it stands": Rule(
        method="POST",
        headers=((FORM[0], f"{FORM[1]}; charset=utf-8"), ("Content-Length", "7")),
        lines=("content-length:7", "content-type:application/x-www-form-urlencoded; charset=utf-8"),
        body=b"cup=one",
        sign_body=True,
    ),
}


def keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), sha256).digest()


def signature_of(canonical: str) -> str:
    key = f"AWS4{SIGNED_SECRET}".encode()
    for part in SCOPE.split("/"):
        key = keyed(key, part)
    return keyed(key, f"AWS4-HMAC-SHA256\n{STAMP}\n{SCOPE}\n{sha256(canonical.encode()).hexdigest()}").hex()


def credentials(rule: Rule) -> Credentials:
    return Credentials("AKIAKETTLE0000000", SIGNED_SECRET, None if rule.token is None else TOKEN)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_is_signed(rule: Rule) -> None:
    body_hash = sha256(rule.body).hexdigest()
    lines: list[str] = sorted(
        [
            *rule.lines,
            f"host:{HOST}",
            f"x-amz-date:{STAMP}",
            *([f"x-amz-content-sha256:{body_hash}"] if rule.sign_body else []),
            *([f"x-amz-security-token:{TOKEN}"] if rule.token else []),
        ]
    )
    names = ";".join(line.partition(":")[0] for line in lines)
    canonical = "\n".join([rule.method, rule.path, rule.query, *lines, "", names, body_hash])

    added = sign(
        rule.method,
        f"https://{HOST}{rule.target}",
        [("Host", HOST), *rule.headers],
        rule.body,
        credentials=credentials(rule),
        region=REGION,
        service=SERVICE,
        at=AT,
        normalize_path=rule.normalize,
        sign_body=rule.sign_body,
        omit_session_token=rule.token is False,
    )

    assert added["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential=AKIAKETTLE0000000/{SCOPE}, SignedHeaders={names}, "
        f"Signature={signature_of(canonical)}"
    )
    assert added["X-Amz-Date"] == STAMP
    assert added.get("X-Amz-Security-Token") == (None if rule.token is None else TOKEN)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_is_signed_of_a_url(rule: Rule) -> None:
    url = presign(
        rule.method,
        f"https://{HOST}{rule.target}",
        [("Host", HOST), *rule.headers],
        rule.body,
        credentials=credentials(rule),
        region=REGION,
        service=SERVICE,
        at=AT,
        expires_in=600,
        normalize_path=rule.normalize,
        omit_session_token=rule.token is False,
    )

    query = dict(parse_qsl(urlsplit(url).query))
    assert query["X-Amz-Expires"] == "600"
    assert query.get("X-Amz-Security-Token") == (None if rule.token is None else TOKEN)
    lines = sorted([*rule.lines, f"host:{HOST}"])
    names = ";".join(line.partition(":")[0] for line in lines)
    assert query["X-Amz-SignedHeaders"] == names
    unsigned = ("X-Amz-Signature=", *(["X-Amz-Security-Token="] if rule.token is False else []))
    signed = "&".join(part for part in urlsplit(url).query.split("&") if not part.startswith(unsigned))
    canonical = "\n".join(
        [
            *(rule.method, rule.path, canonical_query(signed), *lines, "", names),
            sha256(rule.body).hexdigest(),
        ]
    )
    assert query["X-Amz-Signature"] == signature_of(canonical)
    for part in filter(None, rule.query.split("&")):
        assert part in canonical


CHECKED_BY = {
    "get-header-key-duplicate": "a header that comes more than once is one line",
    "get-header-value-multiline": "the lines of a header are joined",
    "get-header-value-order": "the values of a header keep their order",
    "get-header-value-trim": "blanks around and within a value count once",
    "get-relative-normalized": "a step up is followed",
    "get-relative-relative-normalized": "several steps up are followed",
    "get-relative-relative-unnormalized": "several steps up are left as they are",
    "get-relative-unnormalized": "a step up is left as it is",
    "get-slash-dot-slash-normalized": "a dot is dropped",
    "get-slash-dot-slash-unnormalized": "a dot is left",
    "get-slash-normalized": "two slashes are one",
    "get-slash-pointless-dot-normalized": "a dot before a name is dropped",
    "get-slash-pointless-dot-unnormalized": "a dot before a name is left",
    "get-slash-unnormalized": "two slashes are left",
    "get-slashes-normalized": "slashes around a name are one each",
    "get-slashes-unnormalized": "slashes around a name are left",
    "get-space-normalized": "a blank in a path is quoted",
    "get-space-unnormalized": "a blank in a path that is left is quoted",
    "get-unreserved": "unreserved characters of a path stay",
    "get-utf8": "other letters of a path are quoted",
    "get-vanilla": "nothing but a host",
    "get-vanilla-empty-query-key": "a query is signed",
    "get-vanilla-query": "nothing but a host",
    "get-vanilla-query-order-encoded": "a query is sorted by its quoted names",
    "get-vanilla-query-order-key-case": "names of a query are sorted by the case of their letters",
    "get-vanilla-query-unreserved": "unreserved characters of a query stay",
    "get-vanilla-utf8-query": "other letters of a query are quoted",
    "get-vanilla-with-session-token": "a token is signed",
    "post-header-key-case": "a method is signed",
    "post-header-key-sort": "names of headers are in lower case",
    "post-header-value-case": "values keep their case",
    "post-sts-header-after": "a token is added afterwards",
    "post-sts-header-before": "a token is signed with POST",
    "post-vanilla": "a method is signed",
    "post-vanilla-empty-query-value": "a query is signed with POST",
    "post-vanilla-query": "a query is signed with POST",
    "post-x-www-form-urlencoded": "the hash of a form is signed",
    "post-x-www-form-urlencoded-parameters": "a type with parameters is signed as it stands",
}


def test_every_published_case_checks_a_rule_of_ours(shared_data: Path) -> None:
    cases: list[dict[str, Any]] = json.loads((shared_data / "sigv4-cases.json").read_text(encoding="utf-8"))
    assert {case["name"] for case in cases} == CHECKED_BY.keys()
    assert len(cases) == len(CHECKED_BY)
    for case in cases:
        rule, context = RULES[CHECKED_BY[case["name"]]], case["context"]
        assert case["request"].startswith(f"{rule.method} "), case["name"]
        assert (rule.normalize, rule.sign_body) == (context["normalize"], context["sign_body"]), case["name"]
        has_token = "token" in context["credentials"]
        assert has_token is (rule.token is not None), case["name"]
        assert context.get("omit_session_token", False) is (rule.token is False), case["name"]
        path, query = case["canonical_request"].split("\n")[1:3]
        assert bool(query) is bool(rule.query), case["name"]
        assert path.count("/") == rule.path.count("/"), case["name"]
        names = {line.partition(":")[0].lower() for line in case["request"].partition("\n\n")[0].split("\n")[1:]}
        more = {name for name in names if name and not name.startswith((" ", "host", "x-amz-"))}
        assert bool(more) is bool(rule.headers), case["name"]
