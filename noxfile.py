"""Sessions that run here. With nothing installed but Python: ``python3 noxfile.py -s demo`` (or any other session).

``nox -l`` lists the sessions.
"""

from __future__ import annotations

import os
import sys


def leave_quietly(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Show no traceback of a Ctrl-C."""
    if issubclass(kind, KeyboardInterrupt):
        os._exit(130)
    sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]  # a traceback


sys.excepthook = leave_quietly  # as early as can be: what follows takes its time

import functools  # noqa: E402 - this and the next ones: a Ctrl-C may come while they are loaded
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

HERE = Path(__file__).parent
NOX = "nox>=2025.2"
ENDING = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
FOLDER = "Scripts" if sys.platform == "win32" else "bin"
# The same for every Python of an environment, by a line that it runs as it starts: pip's, the demo's, the linters'.
QUIET = (
    "import os, sys; sys.excepthook = lambda kind, error, trace, shown=sys.excepthook, leave=os._exit:"
    " leave(130) if issubclass(kind, KeyboardInterrupt) else shown(kind, error, trace)\n"
)


def show_no_interrupt(environment: Path) -> None:
    """Have no Python in an environment show a traceback of a Ctrl-C."""
    for folder in (*environment.glob("lib/python*/site-packages"), *environment.glob("Lib/site-packages")):
        (folder / "quiet_ctrl_c.pth").write_text(QUIET)


def bootstrap() -> int:
    """Put nox beside the environments that it will make, on a machine that has none, and start over with it.

    The environment is built under another name, and gets its own when it is whole: whoever interrupts this leaves
    none that lacks something. One that does is made anew.
    """
    home = HERE / ".nox" / "bootstrap"
    python = home / FOLDER / "python"
    for number in ENDING - {signal.SIGINT}:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if not is_whole(home):
        home.parent.mkdir(exist_ok=True)
        build(home)
    words = [str(python), "-m", "nox", "-f", __file__, *sys.argv[1:]]
    if sys.platform != "win32":
        os.execv(python, words)  # whoever interrupts this process interrupts nox
    return subprocess.call(words)


def is_whole(home: Path) -> bool:
    """Return whether the environment is there, with the nox that is wanted and a Python that has not gone since."""
    note = home / "whole"
    return (home / FOLDER / "python").exists() and note.exists() and note.read_text() == NOX


def build(home: Path) -> None:
    """Build the environment beside its place, and move it there."""
    for left in home.parent.glob("bootstrap-*"):  # by whoever was killed
        if left.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(left, ignore_errors=True)
    beside = home.with_name(f"bootstrap-{os.getpid()}")
    try:
        print("Making an environment for nox in .nox, for the first time.", file=sys.stderr, flush=True)
        step(sys.executable, "-m", "venv", "--clear", str(beside))
        show_no_interrupt(beside)
        step(str(beside / FOLDER / "python"), "-m", "pip", "install", "--disable-pip-version-check", NOX)
        (beside / "whole").write_text(NOX)
        if not is_whole(home):  # else somebody else was faster
            shutil.rmtree(home, ignore_errors=True)
            beside.rename(home)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave what the first one has to remove
        shutil.rmtree(beside, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def step(*words: str) -> None:
    """Run a program to its end. A Ctrl-C does not reach it, which would show where it was: it is killed instead."""
    if sys.platform == "win32":
        process = subprocess.Popen(words, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until there is something that can be killed
        process = subprocess.Popen(words, start_new_session=True)
    try:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        status = process.wait()
    except BaseException:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        process.wait()
        raise
    if status:
        sys.exit(status)


try:
    import nox
    from nox.command import CommandFailed
except ModuleNotFoundError:
    sys.exit(bootstrap())

OLDEST, NEWEST = 11, 14

nox.needs_version = NOX.removeprefix("nox")
nox.options.sessions = ["tests", "lint", "typecheck"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False

SITE = "docs/_build/html"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")

WORKERS = "4"  # of the tests, on two cores: half of the time they wait for sockets and programs
PATIENT = {"interrupt_timeout": 20, "terminate_timeout": 5}  # seconds in which tests end what they have started


@functools.cache
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


def thorough() -> str:
    """The one that runs every test: 3.12, else the Python that runs nox."""
    return "3.12" if "3.12" in interpreters() else f"3.{sys.version_info.minor}"


def install(session: nox.Session, *wanted: str) -> None:
    """Install what a session needs; shown as it goes, which may take minutes, unless all of it is there already."""
    location = Path(session.virtualenv.location or "")
    note = location / "installed"
    again = note.exists() and note.read_text() == "\n".join(wanted)
    show_no_interrupt(location)
    session.install(*(["--quiet"] if again else []), *wanted, silent=again)
    note.write_text("\n".join(wanted))


@nox.session
def demo(session: nox.Session) -> None:
    """Credentials from an embedded AWS: no account, no network."""
    install(session, ".", *dependencies("demo"))
    session.run("python", "examples/demo.py", *session.posargs, **PATIENT)


@nox.session(python=interpreters())
def tests(session: nox.Session) -> None:
    """All tests on one interpreter; those not marked `slow` on every other one from 3.11 on."""
    install(session, ".", *dependencies("tests"))
    which = [] if session.python == thorough() else ["-m", "not slow"]
    session.run("pytest", *(session.posargs or ["-n", WORKERS, *which]), **PATIENT)


@nox.session(python=interpreters()[-1])
def coverage(session: nox.Session) -> None:
    """The tests not marked `slow`, on one interpreter, and the share of lines and branches that they run."""
    install(session, ".", *dependencies("coverage"))
    session.run("coverage", "erase")
    wanted = session.posargs or ["-n", WORKERS, "-m", "not slow"]
    session.run("coverage", "run", "-m", "pytest", *wanted, **PATIENT)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session
def bare(session: nox.Session) -> None:
    """aiocreds alone: nothing needs an extra but what is named for it."""
    install(session, ".")
    session.run("python", "tests/integration/bare_install.py")


AIOBOTOCORE = {  # oldest, middle (the one that aioboto3 wants), newest
    "oldest": ["aiobotocore==2.13.0", "boto3==1.34.106"],  # pip would look through hundreds of others
    "middle": ["aiobotocore[httpx]==2.25.1", "aioboto3==15.5.0", "s3fs"],
    "newest": ["aiobotocore[httpx2]>=3.10", "boto3", "s3fs"],
}
AIOHTTP = (  # what is tested with the oldest aiohttp
    "tests/unit/_http/test_aiohttp_floor.py",
    "tests/unit/_http/test_requests.py",
    "tests/unit/sources/test_container.py",
    "tests/unit/cli/test_cli_connections.py",
    "tests/unit/cli/test_cli_endpoint.py",
    "tests/integration/test_sigv4_aiohttp.py",
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
    install(session, ".", *wanted, *harness, "time-machine", *aiohttp)
    version = wanted[0].partition("==")[2]
    session.run(
        "pytest",
        *(
            "tests/integration/test_aiobotocore_range.py",
            "tests/integration/test_aioboto3_s3fs.py",
            "tests/integration/test_boto3.py",
        ),
        *(AIOHTTP if aiohttp else ()),
        env={"AIOCREDS_TEST_AIOBOTOCORE": version} if version else {},
        **PATIENT,
    )


@nox.session
def command(session: nox.Session) -> None:
    """The command, with every client that it serves; wants Node.js for the npm one."""
    install(session, ".[cli]", *dependencies("tests"))
    npm = HERE / ".nox" / "npm"
    fetch = ("npm", "install", "--no-audit", "--no-fund", "--prefix", str(npm))
    session.run(*fetch, "@aws-sdk/credential-providers@3", external=True)
    files = [str(path.relative_to(HERE)) for path in sorted(HERE.glob("tests/**/test_cli_*.py"))]
    environ = {"AIOCREDS_TEST_NPM": str(npm / "node_modules")}
    session.run("pytest", "-n", "2", *files, *session.posargs, env=environ, **PATIENT)


@nox.session(python="3.12" if "3.12" in interpreters() else None)
def lake(session: nox.Session) -> None:
    """Polars, Delta tables, DuckDB, PyIceberg and valkey-glide, which weigh half a gigabyte."""
    install(session, ".", *dependencies("lake"))
    files = (
        "tests/integration/test_polars.py",
        "tests/integration/test_delta.py",
        "tests/integration/test_duckdb.py",
        "tests/integration/test_pyiceberg.py",
        "tests/integration/test_valkey_glide.py",
    )
    session.run("pytest", "-n", "2", *files, *session.posargs, **PATIENT)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and imports that point one way."""
    install(session, ".", *dependencies("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Strict types, here and as a user's program sees them (tests/typing)."""
    install(session, ".", *dependencies("tests"), *dependencies("typecheck"))
    session.run("mypy")
    session.run("pyright")
    # Once more as a user sees the installed package: without our configuration and our source folder.
    with session.chdir(HERE / "tests" / "typing"):
        session.run("mypy", "--strict", "--config-file=", ".")
        session.run("pyright")


@nox.session(python="3.12" if "3.12" in interpreters() else None)  # what the limits were set for
def bench(session: nox.Session) -> None:
    """The numbers, each as a ratio beside its peer from the same run."""
    install(session, ".", *dependencies("tests"))
    session.run("python", "-m", "tests.benchmarks", *session.posargs, **PATIENT)


@nox.session(python="3.12" if "3.12" in interpreters() else None)
def soak(session: nox.Session) -> None:
    """Ten thousand refreshes with everything going wrong: no error while any credentials were usable, no growth."""
    install(session, ".", *dependencies("tests"))
    session.run("python", "-m", "tests.stress.soak", *session.posargs, **PATIENT)


@nox.session(python="3.12" if "3.12" in interpreters() else None)  # atheris has no wheels for every version
def fuzz(session: nox.Session) -> None:
    """A million inputs for each parser, by atheris where it installs."""
    install(session, ".", *dependencies("tests"))
    try:
        session.install("--quiet", "--only-binary=:all:", "atheris")
    except CommandFailed:
        session.warn("atheris does not install here: the inputs are made without it")
    session.run("python", "-m", "tests.stress.fuzz", *session.posargs, **PATIENT)


@nox.session
def faults(session: nox.Session) -> None:
    """Every source that talks to something, under every fault, at every age of its credentials, and three rules."""
    install(session, ".", *dependencies("tests"))
    session.run("python", "-m", "tests.stress.faults", *session.posargs, **PATIENT)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, built strictly into docs/_build/html: a broken link or a missing reference fails."""
    install(session, ".", *dependencies("docs"))
    session.run("python", "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", SITE)


@nox.session
def site(session: nox.Session) -> None:
    """The system's Chromium: the built documentation (home, search, API, a telephone's width), and signing in."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        session.skip("no Chromium on the PATH: install it (apt install chromium), or set CHROMIUM to its path")
    if not (HERE / SITE / "index.html").exists():
        session.error("there is no built documentation: run python3 noxfile.py -s docs site")
    install(session, ".", *dependencies("tests"), "playwright>=1.50")
    session.run("python", "docs/browser.py", SITE, env={"CHROMIUM": chromium})
    session.run("pytest", "tests/integration/test_sign_in_browser.py", env={"CHROMIUM": chromium}, **PATIENT)


def oldest(package: str) -> str:
    """The requirement of just the lowest version of a package that pyproject.toml permits."""
    needed: list[str] = nox.project.load_toml(HERE / "pyproject.toml")["project"]["dependencies"]
    [floor] = [it.partition(",")[0] for it in needed if it.startswith(f"{package}>=")]
    return floor.replace(">=", "==")


def dependencies(group: str) -> list[str]:
    """A dependency group of pyproject.toml."""
    return nox.project.dependency_groups(nox.project.load_toml(HERE / "pyproject.toml"), group)  # type: ignore[return-value]  # a tuple, typed as such only later


if __name__ == "__main__":
    sys.argv[1:1] = ["-f", __file__]
    nox.main()
