"""Where the shared files are looked for."""

from pathlib import Path

import pytest

from aiocreds._core.context import Context
from aiocreds._profiles import load, profile_name
from aiocreds._profiles.files import locate


def nowhere() -> str:
    return "~"


@pytest.mark.parametrize(
    ("environ", "platform", "place"),
    [
        ({"HOME": "/home/me"}, "posix", "/home/me/.aws/config"),
        ({"HOME": "/home/me/"}, "posix", "/home/me/.aws/config"),
        ({"HOME": "/"}, "posix", "/.aws/config"),
        ({"HOME": " "}, "posix", "/account/.aws/config"),
        ({"USERPROFILE": "C:\\me"}, "posix", "/account/.aws/config"),
        ({"USERPROFILE": "C:\\me"}, "nt", "C:\\me\\.aws\\config"),
        ({"HOME": "D:\\me", "USERPROFILE": "C:\\me"}, "nt", "D:\\me\\.aws\\config"),
        ({"HOMEDRIVE": "C:", "HOMEPATH": "\\me"}, "nt", "C:\\me\\.aws\\config"),
        ({"AWS_CONFIG_FILE": "/etc/aws", "HOME": "/home/me"}, "posix", "/etc/aws"),
        ({"AWS_CONFIG_FILE": " ", "HOME": "/home/me"}, "posix", "/home/me/.aws/config"),
        ({"AWS_CONFIG_FILE": "~/aws", "HOME": "/home/me"}, "posix", "/home/me/aws"),
        ({"AWS_CONFIG_FILE": "~\\aws", "USERPROFILE": "C:\\me"}, "nt", "C:\\me\\aws"),
    ],
)
def test_the_environment_says_where(environ: dict[str, str], platform: str, place: str) -> None:
    assert locate("config", environ, platform=platform, fallback=lambda: "/account")[0] == place


async def test_a_path_in_code_goes_before_the_variables(tmp_path: Path) -> None:
    context = Context(environ={"AWS_CONFIG_FILE": "/not/this", "AWS_SHARED_CREDENTIALS_FILE": "/nor/this"})
    config = await load(context, tmp_path / "a", str(tmp_path / "b"))
    assert (config.credentials_file, config.config_file) == (str(tmp_path / "a"), str(tmp_path / "b"))


async def test_the_home_of_the_context_goes_before_the_variables(tmp_path: Path) -> None:
    config = await load(Context(environ={"HOME": "/not/this"}, home=tmp_path), config_file="~/mine")
    assert config.credentials_file == str(tmp_path / ".aws" / "credentials")
    assert config.config_file == str(tmp_path / "mine")


async def test_without_any_home_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "~" / ".aws").mkdir(parents=True)
    (tmp_path / "~" / ".aws" / "config").write_text("[default]\n")
    monkeypatch.chdir(tmp_path)
    config = await load(Context(environ={}, home="~"))
    assert not config.profiles


@pytest.mark.parametrize(
    ("explicit", "variable", "name"),
    [(None, None, "default"), (None, "b", "b"), ("a", "b", "a"), ("", " ", "default"), (" ", "b", "b")],
)
def test_the_profile_to_use(explicit: str | None, variable: str | None, name: str) -> None:
    context = Context(environ={} if variable is None else {"AWS_PROFILE": variable})
    assert profile_name(context, explicit) == name
