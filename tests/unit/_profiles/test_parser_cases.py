"""The cases that the AWS SDKs share: they lie beside the project, and a checkout may be without them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aiocreds._core.context import Context
from aiocreds._profiles import Section, load
from aiocreds._profiles.files import locate
from aiocreds.errors import InvalidConfiguration

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[3] / "../shared/data"
PLATFORMS = {"linux": "posix", "windows": "nt"}


def cases(name: str, number: int) -> list[Any]:
    file = DATA / name
    if not file.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{name} is not beside this checkout"))]
    found = json.loads(file.read_text())["tests"]
    assert len(found) == number
    return [pytest.param(case, id=f"{at} {case['name']}") for at, case in enumerate(found)]


def content(section: Section) -> dict[str, Any]:
    return {key: section.get(key) or dict(section.subsection(key)) for key in section}


def expected(sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: value or {} for key, value in keys.items()} for name, keys in sections.items()}


@pytest.mark.parametrize("case", cases("config-file-parser-tests.json", 118))
async def test_the_grammar(case: dict[str, Any], tmp_path: Path) -> None:
    for name in ("config", "credentials"):
        if (text := case["input"].get(f"{name}File")) is not None:
            (tmp_path / name).write_bytes(text.encode())
    reading = load(Context(environ={}), tmp_path / "credentials", tmp_path / "config")
    if wrong := case["output"].get("errorContaining"):
        with pytest.raises(InvalidConfiguration, match=re.escape(wrong)):
            await reading
        return
    config = await reading
    found = {"profiles": config.profiles, "ssoSessions": config.sso_sessions}
    for kind, sections in case["output"].items():
        assert {name: content(section) for name, section in found[kind].items()} == expected(sections)


@pytest.mark.parametrize("case", cases("config-file-location-tests.json", 10))
def test_the_places(case: dict[str, Any]) -> None:
    for name in ("config", "credentials"):
        path, _ = locate(
            name,
            case["environment"],
            platform=PLATFORMS[case["platform"]],
            fallback=lambda: case["languageSpecificHome"],
        )
        assert path == case[f"{name}Location"]
