"""Users without a home folder, as in containers under any user id, and with one that is not as it should be.

===========================================  ====================================================
the home folder                              what becomes of the sources
===========================================  ====================================================
is not known: no HOME, no passwd entry       those that need it say "set HOME"; all others work
is named, and is not there                   nobody has signed in, says who needs that; others work
is another user's                            who needs a file in it says that it cannot be read
can be read and not written to               all work; what is renewed is kept in memory
===========================================  ====================================================
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command import Ended, Machine
from tests.helpers.loopback_aws import CONTAINER_PATH
from tests.helpers.roles_anywhere import Authority, Workload
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.loopback_aws import Loopback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform == "win32" or os.geteuid() != 0, reason="only root can become a user whom nobody knows"
    ),
    pytest.mark.shows_secrets("stdout", because="printing them is what export is for"),
]
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/app"
OF_SIGN_INS = {"from_sso": "sso", "profile sso": "sso", "from_login": "login", "profile login": "login"}
HOMES = ("unknown", "missing", "another's", "read-only")


def unknown_user() -> int:
    """A user id that the system has no entry for."""
    import pwd

    known = {entry.pw_uid for entry in pwd.getpwall()}
    return next(number for number in range(54321, 60000) if number not in known)


class Stranger:
    """A user whom nobody knows, on a machine with an AWS.

    Attributes:
        place: a folder that anybody may look into.
        home: a home folder, as the case wants it.
    """

    def __init__(self, aws: Loopback, place: Path, home: str) -> None:
        self.user = unknown_user()
        self.aws = aws
        self.place = place
        self.home = place / "home"
        self.kind = home
        self.environ = {
            **aws.environ,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + CONTAINER_PATH,
            "AWS_CONFIG_FILE": str(place / "config"),
            "TOKEN_FILE": str(place / "token"),
            "IDENTITY": str(place),
        }
        if home != "unknown":
            self.environ["HOME"] = str(self.home)
        self.write()

    def write(self) -> None:
        printed = {"Version": 1, "AccessKeyId": "AKIAPROCESS000001", "SecretAccessKey": secret()}
        lines = {
            "static": f"aws_access_key_id = AKIASTATIC0000001\naws_secret_access_key = {secret()}",
            "role": f"role_arn = {ROLE_ARN}\nsource_profile = static",
            "process": f"credential_process = /bin/echo '{json.dumps(printed)}'",
            "web": f"role_arn = {ROLE_ARN}\nweb_identity_token_file = {self.place}/token",
            "container": f"role_arn = {ROLE_ARN}\ncredential_source = EcsContainer",
            "instance": f"role_arn = {ROLE_ARN}\ncredential_source = Ec2InstanceMetadata",
            "sso": f"sso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}",
            "login": f"login_session = {LOGIN_SESSION}",
        }
        text = "".join(f"[profile {name}]\n{text}\n" for name, text in lines.items())
        session = f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n"
        (self.place / "config").write_text(text + session)
        (self.place / "token").write_text(secret("token"))
        if self.kind != "missing":
            self.home.mkdir()
            self.sign_in(self.home)
            Workload(self.home, Authority())
        for path in vars(Workload(self.place, Authority())).values():
            if isinstance(path, Path):
                os.chown(path, self.user, self.user)
        modes = {"another's": (0, 0o700, 0o600), "read-only": (self.user, 0o500, 0o400)}
        owner, folder, file = modes.get(self.kind, (self.user, 0o700, 0o600))
        for path in [self.home, *self.home.rglob("*")] if self.home.exists() else []:
            os.chown(path, owner, owner)
            path.chmod(folder if path.is_dir() else file)

    def sign_in(self, home: Path) -> None:
        """A sign-in that has to be renewed at once."""
        server = self.aws.sign_in
        server.token_life, server.keys_life = timedelta(minutes=5), timedelta(minutes=2)
        server.sso_login(home)
        server.login(home)
        server.token_life, server.keys_life = timedelta(hours=1), timedelta(minutes=15)

    async def run(self, *words: str, **variables: str) -> Ended:
        machine = Machine(self.home, {**self.environ, **variables})
        path = machine.variables["PYTHONPATH"]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **self.environ, **variables}
        return await machine.run(
            "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environ.items()), *self.python, *words
        )

    @property
    def python(self) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "tests.helpers.as_user", str(self.user)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that anybody may look into, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix="aiocreds-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=HOMES)
def stranger(request: pytest.FixtureRequest, aws: Loopback, place: Path) -> Stranger:
    return Stranger(aws, place, request.param)


async def test_every_source(stranger: Stranger) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAENV000000001", "AWS_SECRET_ACCESS_KEY": secret()}
    ended = await stranger.run("probe", **keys)
    assert ended.status == 0, ended.err
    found: dict[str, str] = json.loads(ended.out)
    signed_in = {name: found.pop(name) for name in OF_SIGN_INS}
    at_home = found.pop("from_roles_anywhere, at home")
    assert {name: said for name, said in found.items() if not said.startswith("found")} == {}
    for name, said in signed_in.items():
        tool = OF_SIGN_INS[name]
        if stranger.kind == "unknown":
            assert said.startswith("InvalidConfiguration"), said
            assert f"~/.aws/{tool}/cache begins with ~, and no home folder is known" in said
            assert said.endswith("set HOME")
        elif stranger.kind == "missing":
            assert said.startswith(f"LoginRequired: {name.replace('profile ' + tool, 'from_ini')}"), said
            assert str(stranger.home) in said
        elif stranger.kind == "another's":
            assert said.startswith("InvalidConfiguration"), said
            assert f"{stranger.home}/.aws/{tool}/cache/" in said
            assert "cannot be read (permission denied): let this user read it" in said
        else:
            assert said == f"found, by {tool}"
    assert says_where_the_certificate_is(at_home, stranger)
    kept = "cannot be kept in" in ended.err
    assert kept == (stranger.kind == "read-only"), ended.err
    assert not (stranger.place / "~").exists()


def says_where_the_certificate_is(said: str, stranger: Stranger) -> bool:
    """Return whether it is told what is wrong with ``~/tls.crt``, or that nothing is."""
    if stranger.kind == "read-only":
        return said == "found, by roles_anywhere"
    file = f"InvalidConfiguration: from_roles_anywhere: {stranger.home}/tls.crt (from certificate)"
    return said.startswith(
        {
            "unknown": "InvalidConfiguration: from_roles_anywhere: certificate begins with ~, and no home folder",
            "missing": f"{file} does not exist: correct the path, or mount it",
            "another's": f"{file} cannot be read (permission denied): let this user read it",
        }[stranger.kind]
    )


async def test_a_folder_of_sign_ins_may_be_named(aws: Loopback, place: Path) -> None:
    stranger = Stranger(aws, place, "unknown")
    ended = await stranger.run("probe", AWS_LOGIN_CACHE_DIRECTORY=str(stranger.home / ".aws/login/cache"))
    assert json.loads(ended.out)["from_login"] == "found, by login", ended.err


async def test_the_command(stranger: Stranger) -> None:
    ended = await stranger.run("aiocreds", "export", "--profile", "role")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["AccessKeyId"]
    ended = await stranger.run(
        "aiocreds", "exec", "--profile", "static", "--", "/bin/sh", "-c", "echo $AWS_ACCESS_KEY_ID"
    )
    assert (ended.out, ended.err) == ("AKIASTATIC0000001\n", "")
    ended = await stranger.run("aiocreds", "explain", "--offline", "--profile", "sso")
    assert ended.status == (0 if stranger.kind == "read-only" else 2), ended.err
    if stranger.kind == "unknown":
        assert "set HOME" in " ".join(ended.out.split())
    ended = await stranger.run(
        "aiocreds", "explain", "--offline", AWS_CONFIG_FILE="", AWS_EC2_METADATA_DISABLED="1"
    )
    assert ended.status == 0  # of the container, for the files in the home folder are missing
    assert ("no home folder is known" in ended.out) == (stranger.kind == "unknown")


async def test_the_endpoint_beside_a_command(stranger: Stranger) -> None:
    script = "echo $AWS_CONTAINER_CREDENTIALS_FULL_URI"
    ended = await stranger.run("aiocreds", "exec", "--server", "--profile", "static", "--", "/bin/sh", "-c", script)
    assert ended.status == 0, ended.err
    assert ended.out.startswith("http://127.0.0.1:")


async def test_the_endpoint(stranger: Stranger) -> None:
    script = (
        "import os, signal, sys, threading\n"
        "from tests.helpers import as_user\n"
        "as_user.load_everything()\n"
        f"as_user.become({stranger.user})\n"
        "from aiocreds.cli.main import main\n"
        f"threading.Timer(1.0, os.kill, (os.getpid(), {signal.SIGTERM.value})).start()\n"
        "sys.exit(main(['serve', '--profile', 'static']))\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **stranger.environ}
    words = (f"{name}={value}" for name, value in environ.items())
    ended = await Machine(stranger.home, {}).run("/usr/bin/env", "-i", *words, sys.executable, "-c", script)
    assert ended.status == 0, ended.err
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:" in ended.out
