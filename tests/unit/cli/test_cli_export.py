"""`aiocreds export`: every format means the values it was given, whatever is in them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import time

import pytest
import time_machine

from aiocreds import Credentials, InvalidConfiguration
from aiocreds.cli.export import FORMATS, formatted
from aiocreds.cli.main import main
from tests.helpers.command import COMMAND, PATIENCE, Machine
from tests.helpers.loopback_aws import ROLE, ROLES_PATH, Loopback, json_answer
from tests.helpers.scripted import START, issue
from tests.helpers.secret_leaks import secret

pytestmark = pytest.mark.shows_secrets("stdout", because="printing them is what export is for")

HOSTILE = [
    "plain/with+usual=signs",
    "it's",
    '"quoted"',
    "$HOME `id` $(id) ${PATH}",
    "a;b&c|d>e<f",
    "back\\slash\\",
    "two\nlines",
    " blanks ",
    "100%PATH%",
    "!bang!",
    "*?[x]~#",
    "\u2018typographic\u2019",
    "-rf",
    "tab\there",
]
SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh", "ksh") if shutil.which(shell)]


def keys(value: str) -> Credentials:
    """With a secret that begins and ends with ``value``."""
    hostile = f"{value}{secret()}{value}"
    return Credentials("AKIAEXPORT0000001", hostile, session_token=hostile)


@pytest.mark.slow
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_posix_shell_reads_the_very_value(shell: str, value: str) -> None:
    given = keys(value)
    script = 'eval "$1"; sh -c \'printf %s "$AWS_SECRET_ACCESS_KEY|$AWS_SESSION_TOKEN|$AWS_ACCESS_KEY_ID"\''
    done = subprocess.run(
        [shell, "-c", script, shell, formatted(given, "env")], capture_output=True, check=True, text=True
    )
    assert done.stdout == f"{given.secret_access_key}|{given.session_token}|AKIAEXPORT0000001"
    script = 'eval "$1"; printf %s "$AWS_SECRET_ACCESS_KEY"'
    done = subprocess.run(
        [shell, "-c", script, shell, formatted(given, "env-no-export")],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == given.secret_access_key


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not on this machine")
def test_fish_reads_the_very_values() -> None:
    for value in HOSTILE:
        given = keys(value)
        script = f"{formatted(given, 'fish')}\nprintf %s $AWS_SECRET_ACCESS_KEY"
        done = subprocess.run(["fish", "-c", script], capture_output=True, check=True, text=True)
        assert done.stdout == given.secret_access_key


@pytest.mark.skipif(not shutil.which("pwsh"), reason="PowerShell is not on this machine")
def test_powershell_reads_the_very_values() -> None:
    for value in HOSTILE:
        given = keys(value)
        script = f"{formatted(given, 'powershell')}\n[Console]::Out.Write($Env:AWS_SECRET_ACCESS_KEY)"
        done = subprocess.run(["pwsh", "-NoProfile", "-c", script], capture_output=True, check=True, text=True)
        assert done.stdout == given.secret_access_key


def test_shells_that_are_seldom_at_hand_are_spoken_to_by_their_books() -> None:
    key = secret()
    hostile = Credentials("AKIAEXPORT0000001", f"{key}a'b\\c\u2019")
    assert f"AWS_SECRET_ACCESS_KEY '{key}a\\'b\\\\c\u2019'\n" in formatted(hostile, "fish")
    assert f"$Env:AWS_SECRET_ACCESS_KEY='{key}a''b\\c\u2019\u2019'\n" in formatted(hostile, "powershell")
    for quote in "\u2018\u2019\u201a\u201b":  # PowerShell takes them for the one that ends the text
        hostile = Credentials("AKIAEXPORT0000001", f"{key}{quote};b")
        assert f"$Env:AWS_SECRET_ACCESS_KEY='{key}{quote}{quote};b'\n" in formatted(hostile, "powershell")
    hostile = Credentials("AKIAEXPORT0000001", f"{key}&b", session_token=f"{key}&c")
    assert formatted(hostile, "windows-cmd").splitlines() == [
        "set AWS_ACCESS_KEY_ID=AKIAEXPORT0000001",
        f'set "AWS_SECRET_ACCESS_KEY={key}&b"',
        f'set "AWS_SESSION_TOKEN={key}&c"',
        *("set AWS_CREDENTIAL_EXPIRATION=", "set AWS_ACCOUNT_ID=", "set AWS_CREDENTIAL_SCOPE="),
        "set AWS_SECURITY_TOKEN=",
    ]


@pytest.mark.parametrize("value", ['a"b', "%PATH%", "!x!", "two\nlines"])
def test_what_cmd_would_misread_is_refused(value: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"AWS_SECRET_ACCESS_KEY.*use --format process") as refused:
        formatted(keys(value), "windows-cmd")
    assert value not in str(refused.value)


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("process", "json")])
def test_a_nul_fits_no_variable(form: str) -> None:
    with pytest.raises(InvalidConfiguration, match="a NUL"):
        formatted(keys("a\0b"), form)


def test_usual_values_look_as_aws_cli_writes_them() -> None:
    key = f"{secret()}/+="
    lines = {
        "env": f"export AWS_ACCESS_KEY_ID=AKIA/+=\nexport AWS_SECRET_ACCESS_KEY={key}\n",
        "env-no-export": f"AWS_ACCESS_KEY_ID=AKIA/+=\nAWS_SECRET_ACCESS_KEY={key}\n",
        "powershell": f"$Env:AWS_ACCESS_KEY_ID='AKIA/+='\n$Env:AWS_SECRET_ACCESS_KEY='{key}'\n",
        "windows-cmd": f"set AWS_ACCESS_KEY_ID=AKIA/+=\nset AWS_SECRET_ACCESS_KEY={key}\n",
        "fish": f"set -gx AWS_ACCESS_KEY_ID AKIA/+=\nset -gx AWS_SECRET_ACCESS_KEY {key}\n",
    }
    for form, expected in lines.items():
        assert formatted(Credentials("AKIA/+=", key), form).startswith(expected)


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_of_earlier_credentials_stays_in_a_shell(shell: str) -> None:
    earlier = Credentials("ASIAEARLIER000001", secret(), session_token=secret("token"), account_id="123456789012")
    now = Credentials("AKIAEXPORT0000001", secret())
    script = f"set -eu\n{formatted(earlier, 'env')}{formatted(now, 'env')}env"
    path = {"PATH": os.environ["PATH"]}
    script = f"export AWS_SECURITY_TOKEN=x; {script}"  # which botocore takes for the token of any keys
    done = subprocess.run([shell, "-c", script], capture_output=True, check=True, text=True, env=path)
    names = {line.partition("=")[0] for line in done.stdout.splitlines() if line.startswith("AWS_")}
    assert names == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert "$Env:AWS_SESSION_TOKEN=$null\n" in formatted(now, "powershell")
    assert "set AWS_SESSION_TOKEN=\n" in formatted(now, "windows-cmd")
    assert "set -e AWS_SESSION_TOKEN\n" in formatted(now, "fish")
    assert "AWS_SESSION_TOKEN" not in formatted(now, "env-no-export")


def test_the_process_format_is_what_sdks_parse() -> None:
    given = Credentials(
        "ASIAEXPORT0000001",
        secret(),
        session_token=secret("token"),
        expiration=datetime(2035, 1, 2, 3, 4, 5, 999, tzinfo=UTC),
        account_id="123456789012",
    )
    assert json.loads(formatted(given, "process")) == {
        "Version": 1,
        "AccessKeyId": given.access_key_id,
        "SecretAccessKey": given.secret_access_key,
        "SessionToken": given.session_token,
        "Expiration": "2035-01-02T03:04:05Z",
        "AccountId": "123456789012",
    }
    assert json.loads(formatted(Credentials("AKIA1", secret()), "process")).keys() == {
        "Version",
        "AccessKeyId",
        "SecretAccessKey",
    }
    assert "export AWS_CREDENTIAL_EXPIRATION=2035-01-02T03:04:05Z\n" in formatted(given, "env")
    document = json.loads(formatted(given, "json"))
    assert (document["AccountId"], document["CredentialScope"], "Version" in document) == (
        "123456789012",
        None,
        False,
    )


def test_credentials_past_their_expiration_are_told_ten_minutes_ahead() -> None:
    document = json.loads(formatted(issue(-3600, stamped=True), "process"))
    left = datetime.fromisoformat(document["Expiration"]).timestamp() - time()
    assert 595 < left <= 600


def test_a_true_expiration_is_told_as_it_is_however_near() -> None:
    with time_machine.travel(START, tick=False):
        for given in (issue(1.6, stamped=True), issue(0.1)):
            assert given.expiration is not None
            told = datetime.fromisoformat(json.loads(formatted(given, "process"))["Expiration"])
            assert told == given.expiration.replace(microsecond=0)


def test_a_client_is_never_told_an_expiration_that_is_past_when_it_hears_of_it() -> None:
    with time_machine.travel(START, tick=False):
        for left in (0.0, 0.3, 0.9, 0.999):
            told = json.loads(formatted(issue(left, stamped=True), "process"))["Expiration"]
            assert datetime.fromisoformat(told).timestamp() == START + 600


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31"])
def test_an_expiration_at_the_end_of_all_time(at: str) -> None:
    """Go writes the year 1 for no time at all, and emulators of the metadata service are written in it."""
    for stamped in (True, False):
        given = Credentials(
            "AKIAEXPORT0000001",
            secret(),
            session_token=secret("token"),
            expiration=datetime.fromisoformat(f"{at}T00:00:00Z"),
            may_outlive_expiry=stamped,
        )
        for form in FORMATS:
            assert given.secret_access_key in formatted(given, form)
        told = datetime.fromisoformat(json.loads(formatted(given, "process"))["Expiration"])
        assert told > datetime.now(UTC)


@pytest.mark.slow
async def test_an_instance_whose_keys_end_in_the_year_1(home: Path) -> None:
    async with Loopback() as aws:
        credentials = {**aws.credentials("role"), "Code": "Success", "Expiration": "0001-01-01T00:00:00Z"}
        aws.always(ROLES_PATH + ROLE, json_answer(credentials))
        environ = {"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
        machine = Machine(home, environ)
        exported = await machine.aiocreds("export", "--format", "env")
        assert (exported.status, exported.err) == (0, "")
        assert credentials["AccessKeyId"] in exported.out
        executed = await machine.aiocreds("exec", "--", "printenv", "AWS_ACCESS_KEY_ID")
        assert (executed.status, executed.out.strip()) == (0, credentials["AccessKeyId"])
        asking = (sys.executable, "-c", "import boto3; print(boto3.Session().get_credentials().access_key)")
        served = await machine.aiocreds("exec", "--server", "--", *asking)
        assert (served.status, served.out.strip()) == (0, credentials["AccessKeyId"])


# What fails, fails in the shell as well.


@pytest.mark.parametrize("form", ["env", "fish"])
def test_half_a_character_cannot_be_exported(form: str) -> None:
    given = Credentials("AKIAEXPORT0000001", f"{secret()}\ud800")
    with pytest.raises(InvalidConfiguration, match="AWS_SECRET_ACCESS_KEY holds half a character") as caught:
        formatted(given, form)
    assert given.secret_access_key not in str(caught.value)
    assert formatted(Credentials("AKIAEXPORT0000001", secret() + "\udcff"), form)  # a byte of the environment


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["half a character", "none", "a crash", "SIGTERM", "SIGINT"] if hasattr(os, "mkfifo") else ["none"]
)
@pytest.mark.parametrize("shell", SHELLS)
async def test_a_shell_stops_whatever_it_is_that_fails(home: Path, shell: str, how: str) -> None:
    program, environ = "aiocreds", dict[str, str]()
    document = {"Version": 1, "AccessKeyId": "AKIAEXPORT0000001", "SecretAccessKey": f"{secret()}\ud800"}
    (home / "answer.json").write_text(json.dumps(document))
    process = f"cat {home}/answer.json" if how == "half a character" else "sleep 30"
    (home / ".aws" / "config").write_text(
        f"[profile app]\n{'region = x' if how in ('none', 'a crash') else f'credential_process = {process}'}\n"
    )
    if how == "a crash":
        (home / "sitecustomize.py").write_text(
            "import aiocreds.cli._common as common\ndef fetch(_): raise ZeroDivisionError\ncommon.fetch = fetch\n"
        )
        environ["PYTHONPATH"] = f"{home}{os.pathsep}{os.pathsep.join(sys.path)}"
    wrapper = home / program
    wrapper.write_text(f'#!/bin/sh\necho $$ > {home}/pid\nexec {" ".join(COMMAND)} "$@"\n')
    wrapper.chmod(0o755)
    script = f'eval "$({wrapper} export --profile app --format env)" && echo went on'
    running = asyncio.create_task(Machine(home, environ).run(shell, "-c", script))
    if how.startswith("SIG"):
        async with asyncio.timeout(PATIENCE):
            while not children_of(home / "pid"):  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.02)
        os.kill(int((home / "pid").read_text()), getattr(signal, how))
    ended = await running
    assert (ended.status != 0, ended.out) == (True, ""), ended.err
    if how == "half a character":
        assert "Traceback" not in ended.err


def children_of(pid: Path) -> bool:
    """Return whether the process that wrote its number there has started what it waits for."""
    try:
        tasks = Path("/proc", pid.read_text().strip(), "task")
        return any((task / "children").read_text() for task in tasks.iterdir())
    except OSError:
        return False


@pytest.mark.slow
async def test_it_loads_no_more_than_it_needs(home: Path) -> None:
    program = (
        "import sys; from aiocreds.cli.main import main; status = main(['export']);"
        " print(sorted({'aiohttp', 'anyio', 'argcomplete', 'shutil', 'aiocreds.cli.exec',"
        " 'aiocreds.cli.serve', 'aiocreds.cli.explain'} & sys.modules.keys()), status, file=sys.stderr)"
    )
    machine = Machine(home, {"AWS_ACCESS_KEY_ID": "AKIAEXPORT0000001", "AWS_SECRET_ACCESS_KEY": secret()})
    ended = await machine.run(sys.executable, "-c", program)
    assert (ended.err, json.loads(ended.out)["Version"]) == ("[] 0\n", 1)


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder for this process, and no credentials besides."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "_AWS_CLI_PROFILE_CHAIN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return home


def test_no_credentials_are_1_and_broken_ones_2(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export"]) == 1
    assert "aiocreds export: chain: no AWS credentials found" in capfd.readouterr().err
    (here / ".aws" / "config").write_text("[profile half]\naws_access_key_id = AKIAEXPORT0000001\n")
    assert main(["export", "--profile", "half"]) == 2
    said = capfd.readouterr()
    assert "has aws_access_key_id" in said.err
    assert said.out == ""


def test_a_profile_goes_before_keys_in_the_environment(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRON000001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret())
    (here / ".aws" / "credentials").write_text(
        f"[dev]\naws_access_key_id = AKIAEXPORT0000001\naws_secret_access_key = {secret()}\n"
    )
    assert main(["export", "--profile", "dev"]) == 0
    assert json.loads(capfd.readouterr().out)["AccessKeyId"] == "AKIAEXPORT0000001"


@pytest.mark.slow
async def test_a_process_that_asks_for_itself_comes_to_an_end_and_is_named(home: Path) -> None:
    again = f"{sys.executable} -m aiocreds"
    (home / ".aws" / "config").write_text(
        f"[profile a]\ncredential_process = {again} export --profile b\n"
        f"[profile b]\ncredential_process = {again} export --profile a\n"
        f"[profile c]\ncredential_process = {again} exec --profile c -- echo\n"
        f"[profile d]\ncredential_process = sh -c '{again} explain --json --profile d'\n"
    )
    machine = Machine(home, {})
    for profile in ("a", "b"):
        ended = await machine.aiocreds("export", "--profile", profile)
        assert (ended.status, ended.out) == (3, "")
        assert ended.err.startswith("aiocreds export: ")
        assert "asks for the very credentials that it is to give" in ended.err
    for profile in ("c", "d"):
        assert (await machine.aiocreds("export", "--profile", profile)).status in (2, 3)
    explained = await machine.aiocreds("explain", "--offline", "--profile", "a")
    assert explained.status == 2
    assert f"{home}/.aws/config:2".replace(str(home), "~") in explained.out
    assert "asks for the very credentials" in " ".join(explained.out.split())
    ended = await Machine(home, {"_AWS_CLI_PROFILE_CHAIN": "a,b"}).aiocreds("export", "--profile", "a")
    assert "goes round in a circle, or too deep: a → b → a" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("form", ["env", "fish", "process", "json", "env-no-export"])
async def test_a_shell_does_not_go_on_with_what_was_set_before(form: str, home: Path) -> None:
    ended = await Machine(home, {}).aiocreds("export", "--profile", "nobody", "--format", form)
    assert (ended.status, ended.out) == (2, "false\n" if form in ("env", "fish") else "")
    script = f'eval "$({" ".join(COMMAND)} export --profile nobody --format env 2>/dev/null)" && echo went on'
    assert (await Machine(home, {}).run("sh", "-c", script)) == (1, "", "")


@pytest.mark.slow
async def test_a_program_of_another_name_may_end_with_3(home: Path) -> None:
    (home / ".aws" / "config").write_text("[profile a]\ncredential_process = sh -c 'exit 3'\n")
    ended = await Machine(home, {}).aiocreds("export", "--profile", "a")
    assert "ended with exit status 3" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
async def test_a_signal_ends_the_process_that_it_waits_for(name: str, home: Path) -> None:
    pid = home / "pid"
    (home / ".aws" / "config").write_text(
        f"[profile slow]\ncredential_process = sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 55'\n"
    )
    process = await Machine(home, {}).start(*COMMAND, "export", "--profile", "slow")
    async with asyncio.timeout(PATIENCE):
        while not pid.exists():  # noqa: ASYNC110 - a process has no event for it
            await asyncio.sleep(0.01)
        process.send_signal(getattr(signal, name))
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (-getattr(signal, name), b"", b"")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.slow
async def test_the_same_name_in_other_files_is_no_circle(home: Path) -> None:
    other = home / "other"
    other.write_text(f"[default]\naws_access_key_id = AKIAEXPORT0000001\naws_secret_access_key = {secret()}\n")
    (home / ".aws" / "config").write_text(
        f"[default]\ncredential_process = env AWS_CONFIG_FILE={other} {' '.join(COMMAND)} export\n"
    )
    ended = await Machine(home, {}).aiocreds("export")
    assert json.loads(ended.out)["AccessKeyId"] == "AKIAEXPORT0000001"


@pytest.mark.slow
async def test_a_process_of_a_process_ends_with_it(home: Path) -> None:
    pid = home / "pid"
    (home / ".aws" / "config").write_text(
        f"[profile outer]\ncredential_process = {' '.join(COMMAND)} export --profile inner\n"
        f"[profile inner]\ncredential_process = sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 55'\n"
    )
    process = await Machine(home, {}).start(*COMMAND, "export", "--profile", "outer")
    async with asyncio.timeout(PATIENCE):
        while not pid.exists():  # noqa: ASYNC110 - a process has no event for it
            await asyncio.sleep(0.01)
        process.terminate()
        await process.communicate()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.slow
async def test_profiles_may_hand_on_to_others(home: Path) -> None:
    again = f"{sys.executable} -m aiocreds export --profile"
    (home / ".aws" / "config").write_text(
        f"[profile a]\ncredential_process = {again} b\n"
        f"[profile b]\naws_access_key_id = AKIAEXPORT0000001\naws_secret_access_key = {secret()}\n"
    )
    ended = await Machine(home, {}).aiocreds("export", "--profile", "a")
    assert json.loads(ended.out)["AccessKeyId"] == "AKIAEXPORT0000001"
