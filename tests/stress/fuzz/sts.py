"""Answers of STS in XML. What the quick way reads in a plain one, an XML parser reads, too."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hypothesis import strategies as st

from aiocreds._aws.sts import ASSUME_ROLE, ISSUED, WITH_WEB_IDENTITY, assume, get_caller_identity
from aiocreds._base.redaction import SecretStr
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsError
from aiocreds.integrations.sigv4 import says_expired
from tests.stress.fuzz.answers import CONTEXT, HTTP, TIMES, answer, service, written
from tests.stress.fuzz.documents import check
from tests.stress.fuzz.target import Target, assert_tidy, finish

if TYPE_CHECKING:
    from collections.abc import Callable

STS = service("sts")
KEYS = Credentials("AKIDFUZZ00000001", "s" * 40, "t" * 40)
ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/fuzz"}


def feed(data: bytes) -> None:
    """The credentials of a role, who calls, or an error; a service that rejects our clock is believed."""
    HTTP.response = answer(data).response
    says_expired(HTTP.response.status, HTTP.response.headers, HTTP.response.body)
    for action, keys in ((ASSUME_ROLE, KEYS), (WITH_WEB_IDENTITY, None)):
        CONTEXT.clock.learn(0.0)
        try:
            assumed = finish(assume(STS, action, ROLE, credentials=keys, hidden=SecretStr("123456")))
        except CredentialsError as error:
            assert_tidy(error)
        else:
            check(assumed)
            compare(HTTP.response.body, assumed)
    finish(get_caller_identity(STS, KEYS))


def compare(body: bytes, assumed: Credentials) -> None:
    """An XML parser reads the same, where elements stand only once and nothing hides any."""
    if b"<!" in body or b"<?" in body or any(body.count(b"<%s>" % name.encode()) != 1 for name in ISSUED):
        return
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        return  # the quick way is lenient about what stands around
    texts = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root.iter()}
    read = (assumed.access_key_id, assumed.secret_access_key, assumed.session_token)
    assert read == tuple(texts.get(name) for name in ISSUED[:3]), (read, texts)


ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>{arn}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{end}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""
REFUSED = "<R><Error><Type>{type}</Type><Code>{code}</Code><Message>{message}</Message></Error></R>"
CALLER = "<R><Arn>{arn}</Arn><UserId>AIDA</UserId><Account>{account}</Account></R>"

_odd = (
    "",
    " ",
    "\n",
    "\t x",
    "&amp;",
    "&#x41;",
    "&#0;",
    "<![CDATA[a]]>",
    "<!-- a -->",
    "<b/>",
    "\ud800",
    "é",
    "\0",
    "a:b::c",
)
_text = st.sampled_from(("x" * 20, "x" * 20, "x" * 20, *_odd)) | st.text(max_size=4)
_arn = st.sampled_from(("arn:aws:sts::123456789012:assumed-role/fuzz/me", "arn", ":::::", *_odd))
_end = st.sampled_from(TIMES) | _text
_code = st.sampled_from(("AccessDenied", "ExpiredToken", "Throttling", "RequestTimeTooSkewed", "a b")) | _text
_body = (
    st.builds(ASSUMED.format, arn=_arn, key=_text, secret=_text, token=_text, end=_end)
    | st.builds(REFUSED.format, type=_text, code=_code, message=_text | st.just(KEYS.session_token))
    | st.builds(CALLER.format, arn=_arn, account=_text)
)
_prolog = st.sampled_from(
    (
        "",
        "",
        '<?xml version="1.0"?>',
        '<?xml version="1.0" encoding="utf-8"?>',
        '<?xml version="1.0" encoding="unicode_escape"?>',
    )
)
_dates = st.fixed_dictionaries(
    {}, optional={"Date": st.sampled_from(("Mon, 23 Nov 2026 10:00:00 GMT", "x")), "Retry-After": st.just("1")}
)
_DOCTYPE = b'<!DOCTYPE a [<!ENTITY e "&f;&f;"><!ENTITY f "' + b"x" * 40 + b'">]>'

GOOD = ASSUMED.format(
    arn="arn:aws:sts::123456789012:assumed-role/a/b", key="ASIA", secret="s", token="t", end=TIMES[0]
)


def ok(make: Callable[[int], str]) -> Callable[[int], bytes]:
    """Such bodies as good answers."""
    return lambda n: written("sts", 200, make(n).encode())


def _answer(status: int, prolog: str, body: str, headers: dict[str, str]) -> bytes:
    return written("sts", status, (prolog + body).encode(errors="replace"), headers)


TARGET = Target(
    feed=feed,
    inputs=st.builds(
        _answer,
        st.sampled_from((200, 200, 200, 400, 403, 429, 503)),
        _prolog,
        _body,
        _dates,
    ),
    seeds=[
        written("sts", 200, GOOD.encode()),
        written("sts", 403, REFUSED.format(type="Sender", code="RequestTimeTooSkewed", message="no").encode()),
        written("sts", 200, b'<?xml version="1.0" encoding="utf-16"?>' + GOOD.encode()),
        written("sts", 200, _DOCTYPE + b"<a>&e;</a>"),
    ],
    words=[
        *(f"<{name}>".encode() for name in (*ISSUED, "Arn", "Code", "Message", "Account", "a")),
        *(f"</{name}>".encode() for name in (*ISSUED, "Arn", "Code", "Message", "Account", "a")),
        *(
            text.encode(errors="replace")
            for text in (*TIMES, *_odd, " ", "<", "&", "]]>", "<?x ?>", "xmlns:a='b'", "a:")
        ),
        *(
            _DOCTYPE,
            b"&e;",
            b'<?xml version="1.0" encoding="',
            b"unicode_escape",
            b"shift_jis",
            b"idna",
            b"base64",
            b"Date: ",
            b"Retry-After: ",
        ),
        *(b"\n\n", b"sts 400", b"sts 503", b"sts 200"),
    ],
    growing={
        "open elements": ok(lambda n: "<a>" * n),
        "nested elements": ok(lambda n: "<a>" * n + "</a>" * n),
        "elements": ok(lambda n: "<a>" + "<b/>" * n + "</a>"),
        "attributes": ok(lambda n: "<a " + " ".join(f"a{at}=''" for at in range(n)) + "/>"),
        "namespaces": ok(lambda n: "".join(f"<a xmlns:n{at}='x'>" for at in range(n)) + "</a>" * n),
        "half credentials": ok(lambda n: "<AccessKeyId>a</AccessKeyId>" * n),
        "credentials but for their end": ok(lambda n: GOOD.split("<Expiration>")[0] * n),
        "blanks between": ok(lambda n: "<AccessKeyId>a</AccessKeyId>" + " " * n),
        "blanks inside": ok(lambda n: "<AccessKeyId>" + " " * n + "<"),
        "angle brackets": ok(lambda n: "<" * n),
        "entities": ok(lambda n: "<!DOCTYPE a [<!ENTITY e '" + "x" * 100 + "'>]><a>" + "&e;" * n + "</a>"),
        "references": ok(lambda n: "<a>" + "&#65;" * n + "</a>"),
        "codes": lambda n: written("sts", 400, b"<Code>" * n),
        "blanks in a code": lambda n: written("sts", 400, b"<Code>" + b" " * n),
        "a long code": lambda n: written("sts", 400, b"<Code>" + b"a" * n + b" " * n),
        "a long message": lambda n: written("sts", 400, b"<R><Message>" + b"t" * n + b"</Message></R>"),
        "colons": ok(lambda n: GOOD.replace("arn:aws", ":" * n)),
    },
)
