"""The same folders of shared files, resolved by us and by botocore: same keys, same questions to the services."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs

import botocore.session
import pytest
from botocore.credentials import SSOProvider
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.tokens import SSOTokenProvider

from aiocreds import Context, CredentialsError, from_ini
from aiocreds._profiles import files
from tests.helpers.botocore_variables import NOT_READ
from tests.helpers.loopback_aws import CONTAINER_PATH, ROLE, ROLES_PATH, Loopback, Seen
from tests.helpers.profile_corpus import (
    CORP,
    FOLDERS,
    INDENTED,
    INSTEAD,
    JWT,
    LEGACY,
    LOGIN,
    ON_ENVIRONMENT,
    OPTIONS,
    PEOPLE,
    SECRET,
    SSO,
    TOKEN,
    WEB,
    Folder,
    indented,
    keys,
    printed,
    process,
    quoted,
    role,
    without,
)
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import OIDC, PORTAL, SIGN_IN, SignInServer

LOADER: Any = Loader()  # botocore's data files, read once for all sessions
pytestmark = [
    pytest.mark.slow,
    pytest.mark.shows_secrets("stdout", because="botocore reads there what a process prints"),
]

KNOWN = ("A", "B", "C", "D", "BASE", "CONFIG", "CREDENTIALS", "ENVIRONMENT")
ERROR, KEYS, PROCESS = "an error", "keys", "a process"
CACHES = ".aws/*/cache/*.json"
NO_ERROR_OF_ITS_OWN = (FileNotFoundError, KeyError, RuntimeError, ValueError)  # which botocore lets through


class Difference(NamedTuple):
    """Where we differ, on purpose.

    Attributes:
        why: as docs/explanation/differences.md says it.
        ours: what the credentials come from with us.
        theirs: what they come from with botocore.
        folders: where that shows.
    """

    why: str
    ours: str
    theirs: str
    folders: tuple[str, ...]


DIFFERENCES = (
    Difference(
        "A role with a source comes before a web identity in the same profile.",
        KEYS,
        "web identity",
        (
            "a source and web identity",
            "a source in the config file, web identity in the credentials file",
            "web identity in the config file, a source in the credentials file",
            "a role on a source and web identity",
            "credential_source and web identity",
            "credential_source in the config file, web identity in the credentials file",
            "web identity in the config file, credential_source in the credentials file",
            "a role on credential_source and web identity",
        ),
    ),
    Difference(
        "`aws login` comes before static keys, whichever file they are in.",
        "login",
        KEYS,
        ("login in the config file, keys in the credentials file",),
    ),
    Difference(
        "Static keys come before a process, whichever file they are in.",
        KEYS,
        PROCESS,
        ("a process and keys", "keys in the config file, a process in the credentials file"),
    ),
    *(
        Difference(
            "As the source of a role, static keys come before all else that a profile has.", KEYS, theirs, folders
        )
        for theirs, folders in (
            ("web identity", ("a role on keys and web identity",)),
            ("SSO", ("a role on SSO and keys", "a role on SSO, older form and keys")),
            ("login", ("a role on keys and login",)),
            (PROCESS, ("a role on a process and keys",)),
        )
    ),
    Difference(
        "Both files are merged key by key, as the SDK reference says.", KEYS, ERROR, ("a pair in two halves",)
    ),
    *(
        Difference("An incomplete SSO profile is an error.", ERROR, theirs, folders)
        for theirs, folders in (
            (
                KEYS,
                (
                    "a portal alone beside keys",
                    "an sso_session alone and keys",
                    "an sso_session alone in the config file, keys in the credentials file",
                    "keys in the config file, an sso_session alone in the credentials file",
                ),
            ),
            (
                PROCESS,
                (
                    "a process and an sso_session alone",
                    "a process in the config file, an sso_session alone in the credentials file",
                    "an sso_session alone in the config file, a process in the credentials file",
                    "a role on a process and an sso_session alone",
                ),
            ),
            (
                "login",
                (
                    "an sso_session alone and login",
                    "an sso_session alone in the config file, login in the credentials file",
                    "login in the config file, an sso_session alone in the credentials file",
                    "a role on an sso_session alone and login",
                ),
            ),
        )
    ),
    Difference("An incomplete key pair is an error.", ERROR, PROCESS, ("half a pair beside a process",)),
    Difference(
        "A `duration_seconds` that is no number is an error; botocore ignores it silently.",
        ERROR,
        KEYS,
        ("a duration that is none",),
    ),
    Difference(
        "`duration_seconds` counts for a web identity, too.",
        "web identity",
        "web identity",
        ("web identity with a duration",),
    ),
    *(
        Difference("A blank value counts as unset.", ours, ERROR, folders)
        for ours, folders in (
            (
                KEYS,
                (
                    "a blank role_arn beside keys",
                    "a role with a blank credential_source",
                    "a role with a blank web_identity_token_file",
                ),
            ),
            (PROCESS, ("a blank login_session beside a process",)),
            ("SSO", ("a blank sso_session",)),
        )
    ),
    Difference("`credential_source` is taken in any case.", KEYS, ERROR, ("a credential source in lower case",)),
    Difference(
        "A source profile may consist of `credential_source` alone.",
        KEYS,
        ERROR,
        ("a source of credential_source alone",),
    ),
    Difference(
        "`~` and `$NAME` are expanded in every path of a setting; `~` also in a process command.",
        "web identity",
        ERROR,
        ("web identity with a file in ~", "web identity with a file by a variable"),
    ),
    Difference(
        "`~` and `$NAME` are expanded in every path of a setting; `~` also in a process command.",
        PROCESS,
        ERROR,
        ("a process in ~",),
    ),
    Difference(
        "A path that begins with an unknown home folder or variable is an error.",
        ERROR,
        KEYS,
        ("a config file in a home folder that nobody knows",),
    ),
    Difference(
        "`AWS_PROFILE` comes before `AWS_DEFAULT_PROFILE`; a warning is logged when they differ.",
        KEYS,
        KEYS,
        ("AWS_PROFILE and AWS_DEFAULT_PROFILE",),
    ),
    Difference(
        "`AWS_SESSION_TOKEN` comes before `AWS_SECURITY_TOKEN`, in files likewise.",
        KEYS,
        KEYS,
        ("two tokens",),
    ),
    Difference(
        "`AWS_SESSION_TOKEN` comes before `AWS_SECURITY_TOKEN`, in files likewise.",
        KEYS,
        ERROR,
        ("a role on an environment with two tokens",),
    ),
    Difference(
        "`AWS_REGION` counts, before `AWS_DEFAULT_REGION`, as with AWS CLI 2 and the other SDKs.",
        KEYS,
        KEYS,
        ("a role with AWS_REGION and AWS_DEFAULT_REGION",),
    ),
    Difference(
        "The line break at the end of a token file is no part of the token.",
        "web identity",
        ERROR,
        ("web identity with a line break after the token",),
    ),
    Difference(
        "Each role of a chain is asked for in the region of the profile that names it.",
        KEYS,
        KEYS,
        ("a role on a role in a region of its own",),
    ),
    *(
        Difference("Without a region anywhere, the home region of the partition is used.", ours, ERROR, folders)
        for ours, folders in (
            (KEYS, ("a role without a region anywhere",)),
            ("login", ("login without a region anywhere",)),
        )
    ),
    Difference(
        "What cannot be renewed just now is used until it expires, also keys of `aws login`.",
        "login",
        ERROR,
        ("login, about to end, and the session",),
    ),
    Difference(
        "A cached sign-in without its expiry, but with what renews it, is renewed.",
        "SSO",
        ERROR,
        ("SSO, no end but what renews it",),
    ),
    Difference(
        "An `[sso-session]` may hold account and role, too.",
        "SSO",
        ERROR,
        ("SSO with account and role in the session",),
    ),
    Difference(
        "What other programs wrote into a cached sign-in is kept.",
        "SSO",
        "SSO",
        (
            "SSO, fields that nobody knows",
            "SSO, fields that nobody knows; in the credentials file",
            "a role on SSO, fields that nobody knows",
            "a role on a role on SSO, fields that nobody knows",
        ),
    ),
    Difference(
        "The name of a profile consists of letters, digits and `_-/.%@:+`, as in the reference cases of the SDKs.",
        ERROR,
        KEYS,
        (
            "a role on a profile with a space in its name",
            "a role on a profile with another sign in its name",
            "a role on a profile with another letter in its name",
        ),
    ),
    Difference(
        "A line such as `output: json` is an error, as in those cases.",
        ERROR,
        KEYS,
        ("a colon instead of an equals sign",),
    ),
    *(
        Difference("A comment may stand behind a value, as in those cases.", ours, theirs, folders)
        for ours, theirs, folders in (
            (KEYS, KEYS, ("a comment behind a value",)),
            (KEYS, ERROR, ("a comment behind a role",)),
            (PROCESS, ERROR, ("a comment behind a command",)),
        )
    ),
    Difference(
        "When a file sets something twice, the last one counts, as in those cases.",
        KEYS,
        ERROR,
        ("a section twice", "a key twice"),
    ),
    Difference(
        "A shared file that is there but cannot be read is an error for what needs it.",
        ERROR,
        KEYS,
        tuple(
            f"{kind} as the {file} file"
            for kind in ("a folder", "a pipe", "a device without an end")
            for file in ("config", "credentials")
        ),
    ),
    Difference(
        "A shared file has 16 MiB and 500,000 lines at most.",
        ERROR,
        KEYS,
        ("more than a file may have as the config file", "more than a file may have as the credentials file"),
    ),
)
DIFFERENT = {name: difference for difference in DIFFERENCES for name in difference.folders}


class Outcome(NamedTuple):
    """The result of resolving a profile.

    Attributes:
        keys: static ones, with token and account; of issued ones which it was, and the account.
        asked: the questions to STS, the portal, OIDC and sign-in, in order.
        renewed: the fields of the cached sign-ins that are not what they were.
        error: why there are no keys.
    """

    keys: tuple[str | None, ...] = ()
    asked: tuple[dict[str, str], ...] = ()
    renewed: tuple[str, ...] = ()
    error: str = ""

    @property
    def alike(self) -> object:
        """Return the part that has to be the same on both sides; of failures, only that they are."""
        return ERROR if self.error else self

    @property
    def begins(self) -> str | None:
        """Return the source of the credentials in the end."""
        if self.error:
            return ERROR
        first = self.asked[0]["by"] if self.asked else self.keys[0]
        return {"AKIA": KEYS, "ASIA": PROCESS}.get((first or "")[:4], first)


class Watched(SignInServer):
    """The sign-in server as it was, which also writes down what the portal is asked."""

    def __init__(self, before: SignInServer) -> None:
        super().__init__(now=before.now, issue=before.issue)
        own = "now", "issue", "authorization"
        vars(self).update({k: copy.deepcopy(v) for k, v in vars(before).items() if k not in own})
        self.authorization.url = before.authorization.url
        self.queries: list[str] = []

    def portal(self, seen: Seen, query: str) -> dict[str, Any]:
        self.queries.append(query)
        return super().portal(seen, query)


class Machine:
    """A folder, and the services it leads to: twice the same, for us and for botocore."""

    def __init__(self, aws: Loopback, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        self.path = path
        self.monkeypatch = monkeypatch
        self.home = path / "home"
        self.home.mkdir()
        self.environ = {
            "BOTO_CONFIG": str(path / "nothing"),
            "PLACE": str(path),
            "AWS_CONFIG_FILE": str(path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(path / "credentials"),
            **aws.environ,
            "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        # STS knows these and what the services issue, and nobody else.
        aws.secrets.update({f"AKIA{name}": (SECRET, None) for name in KNOWN})
        aws.secrets.update({f"ASIA{name}": (SECRET, TOKEN) for name in "ABCDP"})
        aws.secrets["AKIATOKEN"] = SECRET, TOKEN
        aws.web_tokens.add(JWT)
        aws.rotate = False  # so that both get the same from the container and from EC2
        for place in (CONTAINER_PATH, ROLES_PATH + ROLE):
            aws.issue(place)

    def prepare(self, folder: Folder) -> None:
        """Write the files, and have the person sign in."""
        for file, text in (("config", folder.config), ("credentials", folder.credentials)):
            (self.path / file).unlink(missing_ok=True)
            if file == folder.instead[0]:
                INSTEAD[folder.instead[1]](self.path / file)
            else:
                (self.path / file).write_text(text.replace("HOME", str(self.home)))
        self.monkeypatch.setattr(files, "PIPE_PATIENCE", 0.2)
        for file, text in (("token", JWT), ("line", JWT + "\n"), ("empty", ""), ("wrong", secret("jwt"))):
            (self.home / file).write_text(text)
        (self.home / "printed").write_text(printed("P"))
        (self.home / "echo").symlink_to("/bin/echo")
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            self.environ[variable] = folder.region
        self.environ.update(folder.variables)
        # Only where they are meant: botocore falls back to them where a profile has nothing.
        if "EcsContainer" in folder.config + folder.credentials:
            self.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = self.aws.url + CONTAINER_PATH
        if "Ec2InstanceMetadata" not in folder.config + folder.credentials:
            self.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        PEOPLE[folder.person](self.aws.sign_in, self.home)
        self.signed_in = self.aws.sign_in

    async def ours(self, profile: str | None) -> Outcome:
        """Return our result."""
        environ = self._visit("ours")
        before = self._labels()
        try:
            found = await from_ini(profile, mfa_code=code, context=Context(environ=environ))()
        except CredentialsError as error:
            return Outcome(error=str(error))
        keys = found.access_key_id, found.secret_access_key, found.session_token, found.account_id
        return self._outcome(environ["HOME"], before, keys)

    async def theirs(self, profile: str | None) -> Outcome:
        """Return the result of botocore."""
        environ = self._visit("theirs")
        before = self._labels()
        with self.monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith(("AWS_", "BOTO_")):
                    patch.delenv(name)
            for name, value in environ.items():
                if value:  # a blank region is one to botocore
                    patch.setenv(name, value)
            for provider in (SSOProvider, SSOTokenProvider):  # it asks for the home folder when it is imported
                patch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", f"{environ['HOME']}/.aws/sso/cache")
            try:
                keys = await asyncio.to_thread(resolve_with_botocore, profile)
            except (BotoCoreError, ClientError, *NO_ERROR_OF_ITS_OWN) as error:
                return Outcome(error=repr(error))
        return self._outcome(environ["HOME"], before, keys) if keys else Outcome(error="no credentials")

    def _visit(self, name: str) -> dict[str, str]:
        """A copy of the home folder, and services that nobody has asked yet."""
        home = self.path / name
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.home, home, symlinks=True)
        self.aws.sign_in = Watched(self.signed_in)
        self.aws.requests.clear()
        return {**self.environ, "HOME": str(home)}

    def _labels(self) -> dict[str, str]:
        """The secrets of the cached sign-ins, and what to call them: they differ from one run to the next."""
        found = {key: key for key in self.aws.secrets}
        for path in sorted(self.home.glob(CACHES)):
            for name, value in cached(path).items():
                if isinstance(value, dict):
                    found[value["accessKeyId"]] = "login"
                else:
                    found[value] = f"the {name} in the cache"
        return found

    def _outcome(self, home: str, labels: dict[str, str], found: tuple[str | None, ...]) -> Outcome:
        labels = labels | {
            key: f"issued key {n}" for n, key in enumerate((k for k in self.aws.secrets if k not in labels), 1)
        }
        queries = iter(cast("Watched", self.aws.sign_in).queries)
        asked: list[dict[str, str]] = []
        for seen in self.aws.requests:
            if seen.path == "/":
                asked.append(to_sts(seen, labels))
            elif seen.path == PORTAL:
                bearer = labels.get(seen.headers["x-amz-sso_bearer_token"], "another")
                query = {name: values[0] for name, values in parse_qs(next(queries)).items()}
                asked.append({"by": "SSO", "bearer": bearer, **query})
            elif seen.path in (OIDC, SIGN_IN):
                body: dict[str, str] = json.loads(seen.body)
                said = {name: labels.get(value, value) for name, value in body.items()}
                asked.append({"by": "SSO" if seen.path == OIDC else "login", **said})
        key, secret_key, token, account = found
        label = labels.get(key or "", key)
        keys = (label, account) if (label or "").startswith("issued") else (label, secret_key, token, account)
        renewed = (
            f"{path.name}: {name}"
            for path in sorted(self.home.glob(CACHES))
            for name, value in cached(path).items()
            if cached(Path(home) / path.relative_to(self.home)).get(name) != value
        )
        return Outcome(keys, tuple(asked), tuple(renewed))


def cached(path: Path) -> dict[str, Any]:
    """Return the content of a cache file, without what is below the first level; nothing when it is broken."""
    with contextlib.suppress(ValueError, AttributeError):
        token: dict[str, Any] = json.loads(path.read_text())
        return dict(token.items())
    return {}


def to_sts(seen: Seen, labels: dict[str, str]) -> dict[str, str]:
    """A question to STS, without what is each library's own business."""
    form = {"DurationSeconds": "3600", **seen.form, "region": seen.signed_region}
    if form["RoleSessionName"].startswith(("botocore-session-", "aiocreds-")):
        form["RoleSessionName"] = "its own"
    if "WebIdentityToken" in form:
        return {**form, "by": "web identity"}
    return {**form, "by": labels.get(seen.signed_by, seen.signed_by)}


async def code(serial_number: str) -> str:
    return "123456"


def enter_code(prompt: str) -> str:
    return "123456"


def resolve_with_botocore(profile: str | None) -> tuple[str | None, ...] | None:
    session = cast("Any", botocore.session.Session(profile=profile))
    session.register_component("data_loader", LOADER)
    resolver = session.get_component("credential_provider")
    resolver.get_provider("assume-role")._prompter = enter_code
    credentials = session.get_credentials()
    found = credentials and credentials.get_frozen_credentials()
    return found and (found.access_key, found.secret_key, found.token, found.account_id)


@pytest.fixture
def machine(aws: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(aws, tmp_path, monkeypatch)


async def test_the_family_is_large_and_each_folder_in_it_is_another() -> None:
    assert (
        len({(*folder[:4], folder.variables, folder.instead) for folder in FOLDERS.values()}) == len(FOLDERS) >= 500
    )


@pytest.mark.parametrize("name", [name for name in FOLDERS if name not in DIFFERENT])
async def test_alike(machine: Machine, name: str) -> None:
    folder = FOLDERS[name]
    machine.prepare(folder)
    profile = "a" if folder.named else None
    ours, theirs = await machine.ours(profile), await machine.theirs(profile)
    assert ours.alike == theirs.alike
    assert folder.works in (None, not ours.error), ours.error


@pytest.mark.parametrize("name", DIFFERENT)
async def test_different_on_purpose(machine: Machine, name: str) -> None:
    machine.prepare(FOLDERS[name])
    profile = "a" if FOLDERS[name].named else None
    ours, theirs = await machine.ours(profile), await machine.theirs(profile)
    difference = DIFFERENT[name]
    assert (ours.begins, theirs.begins) == (difference.ours, difference.theirs), difference.why
    assert ours.alike != theirs.alike


def a_folder(seed: int) -> Folder:
    """Some profiles at random, that may or may not lead to credentials."""
    chance = random.Random(seed)
    texts = {"config": CORP, "credentials": ""}
    for name in "abcd":
        source = f"source_profile = {chance.choice(['a', 'b', 'c', 'd', 'd', 'nowhere'])}\n"
        options = "".join(option for option in OPTIONS.values() if chance.random() < 0.3)
        kinds = {
            "keys": keys(name.upper()),
            "role": role(name, source + options),
            "role with keys": role(name, source + options) + keys(name.upper()),
            "environment": role(name, ON_ENVIRONMENT + options),
            "process": process(name.upper()),
            "SSO": SSO + options,
            "older SSO": LEGACY + options,
            "web identity": WEB + without(options, "duration_seconds"),
            "login": LOGIN + options,
            "nothing": "output = json\n",
        }
        kind = chance.choice([*kinds, "role", "role", "role"])
        where = chance.choice(["config", "credentials"])
        texts[where] += f"[{'profile ' if where == 'config' else ''}{name}]\n{kinds[kind]}"
    if chance.random() < 0.5:
        texts["config"] = quoted(texts["config"], chance.choice("\"'"))
    for file in texts:
        texts[file] = indented(texts[file], chance.choice(["", "", *INDENTED]))
    return Folder(texts["config"], texts["credentials"], "everywhere")


@pytest.mark.parametrize("seed", range(40))
async def test_alike_at_random(machine: Machine, seed: int) -> None:
    machine.prepare(a_folder(seed))
    for profile in "abcd":
        assert (profile, (await machine.ours(profile)).alike) == (profile, (await machine.theirs(profile)).alike)


PIPED_INPUT = (  # test_process_terminal.py shows it
    "A process has the terminal or nothing as its standard input, never what is piped into the program."
)
OF_DATES = {  # which tests/unit/_base/test_time.py compares
    "A time without a zone, such as an `Expiration` of a process, is UTC.",
    "An ambiguous time (`GMT+0200`) or an incomplete one (`00:00 UTC`) is an error.",
}


def test_the_page_lists_the_differences() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/differences.md").read_text(encoding="utf-8")
    table = page.rstrip("\n").partition("| | here | botocore |")[2].partition("\n\n")[0]
    listed = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    known = {difference.why for difference in DIFFERENCES} | set(NOT_READ) | {PIPED_INPUT} | OF_DATES
    assert sorted(listed) == sorted(known)
