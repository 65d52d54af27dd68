"""Fuzzing.

``python -m tests.stress.fuzz [--target NAME ...] [--inputs N] [--seconds N] [--seed N] [--engine NAME]``:

Each target gets inputs that hypothesis draws and a million others that are made from them (see `engines`); then, in
a process of its own, it is measured how its time grows with the length of an input and its memory with their number
(see `limits`). A finding is anything but an answer or an error of our tree: another exception, a warning, a
difference to a peer. The exit status is 1 if there is one, or if time or memory grows.

========== =========================================================================================================
grammar    both shared files, against a plain reading by the rules of the published cases (`rules`)
profiles   what the files mean: the walk from a profile to its credentials, SSO, endpoints, commands, what is told
documents  credentials in JSON
sts        answers of STS in XML, good and bad
services   answers of SSO, SSO-OIDC, AWS Sign-In, Cognito, IAM Roles Anywhere, EC2 metadata and container agents
sign_ins   cached sign-ins of `aws sso login` and `aws login`, and JSON Web Tokens
identities certificates, private keys and PKCS#12 files
times      timestamps, wherever one is read
urls       which URLs are accepted, against what aiohttp makes of them
headers    header values and tokens, against what aiohttp writes on the wire and reads from it
signing    signatures, in headers and in URLs, against botocore's
========== =========================================================================================================

The columns: inputs of hypothesis and of the engine; the engine's inputs per second; blocks of Python's memory that
are held more at the end of them than after a fifth; the shape of input with which time grows most, and the factor
for one that is four times as long; bytes that are held more after 20,000 further inputs.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from tests.stress.fuzz.limits import MOST_HELD, TIMES_THE_TIME
from tests.stress.fuzz.worker import RESULT, Job, Result, has_atheris, load, strict

TARGETS = (
    "signing",
    "services",
    "profiles",
    "sign_ins",
    "identities",
    "grammar",
    "sts",
    "urls",
    "headers",
    "documents",
    "times",
)  # the slow ones first
MOST_BLOCKS = 20_000
IN_MEMORY = "/dev/shm"  # where there is such a folder: a million files are written
HEAD = (
    "target",
    "hypothesis",
    "inputs",
    "by",
    "a second",
    "blocks",
    "grows most with",
    "factor",
    "bytes held",
    "ok?",
)


def main() -> int:
    """Feed the targets, print the table, and tell whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=TARGETS, metavar="NAME")
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="for each target")
    parser.add_argument("--examples", type=int, default=2_000, metavar="N", help="of hypothesis, for each target")
    parser.add_argument("--seconds", type=float, default=1_200, metavar="N", help="at most, for each target")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)), metavar="N")
    parser.add_argument(
        "--engine", choices=("atheris", "mutations"), default="atheris" if has_atheris() else "mutations"
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--input", metavar="BASE64", help="feed the one target this and nothing else")
    options = parser.parse_args()
    if options.input is not None:
        return again(options.target[0], base64.urlsafe_b64decode(options.input))
    print(
        f"seed {options.seed}, {options.inputs:,} inputs a target by {options.engine}", file=sys.stderr, flush=True
    )
    started = monotonic()
    memory = IN_MEMORY if Path(IN_MEMORY).is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="aiocreds-fuzz-", dir=memory) as folder,
        ThreadPoolExecutor(options.processes) as pool,
    ):
        jobs = [
            Job(target, inputs, options.examples, options.seconds, options.seed, options.engine, folder)
            for inputs in (options.inputs, 0)
            for target in TARGETS
            if target in options.target
        ]
        results = list(pool.map(done, jobs))
    half = len(results) // 2
    rows = [
        row(fed, measured, options.inputs) for fed, measured in zip(results[:half], results[half:], strict=True)
    ]
    print(table(rows))
    took = f"{monotonic() - started:.0f} s"
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} cores, {took}, seed {options.seed}")
    for result in results:
        for what, place, line in result.findings:
            print(f"\n{result.target}: {what}\n  at {place}\n  {line}")
        for shape, factor in result.slow:
            print(f"\n{result.target}: with {shape}, one four times as long takes {factor:.0f} times the time")
    return 0 if all(cells[-1] == "yes" for cells in rows) else 1


def again(name: str, data: bytes) -> int:
    """Feed one input and let what it raises be seen."""
    target = load(name)
    strict()
    print(f"{name} gets {data!r}")
    target.run(data)
    print("and takes it")
    return 0


def done(job: Job) -> Result:
    """Do a job in a process of its own."""
    print(f"{job.target} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.stress.fuzz.worker", json.dumps(asdict(job))]
    environ = {**os.environ, "TMPDIR": job.folder}
    ended = subprocess.run(command, capture_output=True, check=False, timeout=2 * job.seconds + 300, env=environ)
    for line in ended.stdout.decode().splitlines():
        if line.startswith(RESULT):
            return Result(**json.loads(line.removeprefix(RESULT)))
    last = ended.stderr.decode(errors="replace")[-2_000:]
    return Result(job.target, findings=[(f"the process ended with {ended.returncode}", last, " ".join(command))])


def row(fed: Result, measured: Result, wanted: int) -> tuple[str, ...]:
    """A line of the table."""
    shape, factor = measured.slowest
    ok = (
        fed.inputs >= wanted
        and not fed.findings
        and not measured.findings
        and not measured.slow
        and fed.blocks <= MOST_BLOCKS
        and measured.held <= MOST_HELD
    )
    rate = fed.inputs / fed.seconds if fed.seconds else 0.0
    return (
        *(fed.target, f"{fed.examples:,}", f"{fed.inputs:,}", fed.engine, f"{rate:,.0f}", f"{fed.blocks:,}"),
        *(shape, f"{factor:.1f} (≤ {TIMES_THE_TIME})", f"{measured.held:,}", "yes" if ok else "NO"),
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """The rows in columns."""
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    lines = [HEAD, tuple("─" * width for width in widths), *rows]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines)


if __name__ == "__main__":
    sys.exit(main())
