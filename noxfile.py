"""What can be run here. With nothing installed but Python: ``python3 noxfile.py -s demo`` (or any other session).

``nox -l`` lists the sessions.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent

try:
    import nox
    from nox.command import CommandFailed
except ModuleNotFoundError:  # a fresh machine: put nox beside the environments it will make, and start over
    home = HERE / ".nox" / "bootstrap"
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "nox>=2025.2"], check=True)
    sys.exit(subprocess.call([python, "-m", "nox", "-f", __file__, *sys.argv[1:]]))

OLDEST, NEWEST = 11, 14

nox.needs_version = ">=2025.2"
nox.options.sessions = ["tests", "lint", "typecheck"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False


def interpreters() -> list[str]:
    """The Python versions from 3.11 on that this machine can run; a name alone may be an empty shim."""
    here = f"3.{sys.version_info.minor}"
    found = []
    for minor in range(OLDEST, NEWEST + 1):
        name = f"3.{minor}"
        command = shutil.which(f"python{name}")
        answers = command and not subprocess.run([command, "-c", ""], capture_output=True, check=False).returncode
        if name == here or answers:
            found.append(name)
    return found


@nox.session
def demo(session: nox.Session) -> None:
    """Credentials from an embedded AWS: no account, no network."""
    session.install("--quiet", ".", *dependencies("demo"))
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session(python=interpreters())
def tests(session: nox.Session) -> None:
    """The tests, on every interpreter from 3.11 on that this machine has."""
    session.install("--quiet", ".", *dependencies("tests"))
    session.run("pytest", *(session.posargs or ["-n", "2"]))


@nox.session
def bare(session: nox.Session) -> None:
    """aiocreds alone: nothing needs an extra but what is named for it."""
    session.install("--quiet", ".")
    session.run("python", "tests/e2e/bare_install.py")


AIOBOTOCORE = {  # oldest, middle (the one that aioboto3 wants), newest
    "oldest": ["aiobotocore==2.13.0", "boto3"],
    "middle": ["aiobotocore[httpx]==2.25.1", "aioboto3==15.5.0", "s3fs"],
    "newest": ["aiobotocore[httpx2]>=3.10", "boto3", "s3fs"],
}
AIOHTTP = (  # what is tested with the oldest aiohttp
    *("tests/unit/test_aiohttp_floor.py", "tests/unit/test_http.py", "tests/unit/test_http_source.py"),
    *("tests/unit/test_cli_connections.py", "tests/unit/test_cli_endpoint.py", "tests/e2e/test_sigv4_aiohttp.py"),
)


@nox.session
@nox.parametrize("which", list(AIOBOTOCORE), ids=list(AIOBOTOCORE))
def aiobotocore(session: nox.Session, which: str) -> None:
    """attach() on the oldest, a middle and the newest aiobotocore, with what is built on it.

    With the oldest comes the oldest aiohttp that pyproject.toml permits, and the tests of what is built on that.
    """
    wanted = AIOBOTOCORE[which]
    harness = ("blockbuster", "cryptography", "moto[s3,server]>=5.1", "pytest", "pytest-asyncio", "pytest-timeout")
    aiohttp = [oldest("aiohttp"), "hypothesis"] if which == "oldest" else []
    session.install("--quiet", ".", *wanted, *harness, "time-machine", *aiohttp)
    version = wanted[0].partition("==")[2]
    session.run(
        "pytest",
        *("tests/e2e/test_aiobotocore_range.py", "tests/e2e/test_aioboto3_s3fs.py", "tests/e2e/test_boto3.py"),
        *(AIOHTTP if aiohttp else ()),
        env={"AIOCREDS_TEST_AIOBOTOCORE": version} if version else {},
    )


@nox.session
def command(session: nox.Session) -> None:
    """The command, with every client that it serves; wants Node.js for the npm one."""
    session.install("--quiet", ".[cli]", *dependencies("tests"))
    npm = HERE / ".nox" / "npm"
    install = ("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(npm))
    session.run(*install, "@aws-sdk/credential-providers@3", external=True)
    files = [str(path.relative_to(HERE)) for path in sorted(HERE.glob("tests/*/test_cli_*.py"))]
    session.run("pytest", "-n", "2", *files, *session.posargs, env={"AIOCREDS_TEST_NPM": str(npm / "node_modules")})


@nox.session(python="3.12" if "3.12" in interpreters() else None)
def lake(session: nox.Session) -> None:
    """Polars, Delta tables and PyIceberg, which weigh half a gigabyte."""
    session.install("--quiet", ".", *dependencies("lake"))
    files = ("tests/e2e/test_polars.py", "tests/e2e/test_delta.py", "tests/e2e/test_pyiceberg.py")
    session.run("pytest", "-n", "2", *files, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and imports that point one way."""
    session.install("--quiet", ".", *dependencies("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Strict types, here and as a user's program sees them (tests/typing)."""
    session.install("--quiet", ".", *dependencies("tests"), *dependencies("typecheck"))
    session.run("mypy")
    session.run("pyright")
    # Once more as a user sees the installed package: without our configuration and our source folder.
    with session.chdir(HERE / "tests" / "typing"):
        session.run("mypy", "--strict", "--config-file=", ".")
        session.run("pyright")


@nox.session(python="3.12" if "3.12" in interpreters() else None)  # what the limits were set for
def bench(session: nox.Session) -> None:
    """The numbers, each as a ratio beside its peer from the same run."""
    session.install("--quiet", ".", *dependencies("tests"))
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session(python="3.12" if "3.12" in interpreters() else None)
def soak(session: nox.Session) -> None:
    """Ten thousand refreshes with everything going wrong: no error while any credentials were usable, no growth."""
    session.install("--quiet", ".", *dependencies("tests"))
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session(python="3.12" if "3.12" in interpreters() else None)  # atheris has no wheels for every version
def fuzz(session: nox.Session) -> None:
    """A million inputs for each parser, by atheris where it installs."""
    session.install("--quiet", ".", *dependencies("tests"))
    try:
        session.install("--quiet", "--only-binary=:all:", "atheris")
    except CommandFailed:
        session.warn("atheris does not install here: the inputs are made without it")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Every source that talks to something, under every fault, at every age of its credentials, and three rules."""
    session.install("--quiet", ".", *dependencies("tests"))
    session.run("python", "-m", "tests.faults", *session.posargs)


def oldest(package: str) -> str:
    """The requirement of just the lowest version of a package that pyproject.toml permits."""
    needed: list[str] = nox.project.load_toml(HERE / "pyproject.toml")["project"]["dependencies"]
    [floor] = [it.partition(",")[0] for it in needed if it.startswith(f"{package}>=")]
    return floor.replace(">=", "==")


def dependencies(group: str) -> list[str]:
    """A dependency group of pyproject.toml."""
    return nox.project.dependency_groups(nox.project.load_toml(HERE / "pyproject.toml"), group)  # type: ignore[return-value]  # a tuple, typed as such only later


if __name__ == "__main__":
    nox.main()
