"""A forked child hangs at no lock of ours, whatever another thread held at that moment."""

# pyright: reportPrivateUsage=false
# What is checked here cannot be seen from outside.

from __future__ import annotations

import ast
import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

import aiocreds

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of Unix")

SOURCES = Path(aiocreds.__file__).parent
KINDS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "Queue", "SimpleQueue"}
ELSEWHERE = {
    "aiocreds._base.threads _jobs",  # a SimpleQueue shows no lock; the child has another
    "aiocreds._token_cache.program_end done",  # forgotten in the child, with the work that it is held for
}
# Holds each lock of the package in a thread of its own, forks, and has the child take all of them and use the rest.
PROGRAM = """
import asyncio, gc, importlib, json, os, pkgutil, sys, threading, types, warnings
from contextlib import suppress

import aiocreds
from aiocreds import Context, chain, credential_provider, default_chain, from_env, from_ini
from aiocreds import from_temporary_credentials

for module in pkgutil.walk_packages(aiocreds.__path__, "aiocreds."):
    if not module.name.endswith("__main__"):
        with suppress(ModuleNotFoundError):  # an integration whose library is not there
            importlib.import_module(module.name)

from aiocreds._token_cache.lock import FileLock
from aiocreds.integrations import _background

LOCKS = type(threading.Lock()), type(threading.RLock())


def attributes(thing):
    if isinstance(thing, types.ModuleType):
        return list(vars(thing).items())
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    names = {*slots, *getattr(thing, "__dict__", ())}
    return [(name, getattr(thing, name, None)) for name in names]


def inside(value, depth=2):
    if isinstance(value, LOCKS):
        yield value
    elif depth and type(value).__module__ in ("threading", "queue") and not isinstance(value, threading.Thread):
        for _, inner in attributes(value):
            yield from inside(inner, depth - 1)
    elif depth and isinstance(value, (dict, list, tuple, set)):
        for inner in gc.get_referents(value):
            yield from inside(inner, depth - 1)
    elif depth and isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            with suppress(ValueError):
                yield from inside(cell.cell_contents, depth - 1)


def locks():
    owners = [module for name, module in sys.modules.items() if name.partition(".")[0] == "aiocreds"]
    owners += [it for it in gc.get_objects() if str(type(it).__module__).partition(".")[0] == "aiocreds"]
    found = {}
    for owner in owners:
        place = getattr(owner, "__name__", None) or type(owner).__module__
        for name, value in attributes(owner):
            for number, lock in enumerate(inside(value)):
                found[id(lock)] = f"{place} {name}", lock
    return list(found.values())


@credential_provider
async def from_vault() -> aiocreds.Credentials:
    return aiocreds.Credentials("AKIAVAULT", "x")


context = Context(dict(os.environ))
providers = [from_vault(), from_env(), from_ini(context=context), default_chain(context=context)]
providers += [chain(*providers), providers[0].expire_after(60)]
providers.append(from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/app", source=providers[0]))
for provider in providers[:4]:
    with suppress(aiocreds.CredentialsError):
        asyncio.run(provider())  # which reads files, in threads of ours
_background.current(providers[1])
_background.current(from_vault())
lock = FileLock(sys.argv[1])
assert lock.take()

held, ready = [], threading.Semaphore(0)


def hold(taken):
    with taken:
        ready.release()
        threading.Event().wait()


for place, taken in locks():
    if place == "aiocreds._base.threads _jobs":
        continue
    held.append(place)
    threading.Thread(target=hold, args=(taken,), daemon=True).start()
    ready.acquire()

warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork: that is the point
reading, writing = os.pipe()
child = os.fork()
if not child:
    stuck = sorted({place for place, taken in locks() if not taken.acquire(timeout=1)})
    for place, taken in locks():
        with suppress(RuntimeError):
            taken.release()
    if not stuck:
        for provider in providers[:4]:
            provider.invalidate()
            with suppress(aiocreds.CredentialsError):
                asyncio.run(provider())
        _background.current(from_vault())
        lock.release()
    os.write(writing, json.dumps(stuck).encode())
    os._exit(0)
os.close(writing)
told = b""
while piece := os.read(reading, 65536):
    told += piece
print(json.dumps({"held": sorted(set(held)), "stuck": json.loads(told)}), flush=True)
os._exit(0)  # the threads keep what the end of the program would wait for
"""


def made() -> dict[str, str]:
    """Where the sources make a lock that is kept: the name it is kept under, and the line."""
    found: dict[str, str] = {}
    for path in SOURCES.rglob("*.py"):
        module = ".".join(("aiocreds", *path.relative_to(SOURCES).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
                continue
            called = node.value.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                if called.value.id == "asyncio":
                    continue
                name = called.attr
            else:
                name = getattr(called, "id", "")
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if name in KINDS:
                    kept = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
                    found[f"{module} {kept}"] = f"{path.name}:{node.lineno}"
    return found


@pytest.mark.slow
async def test_every_lock_is_free_in_a_child_that_is_forked_while_another_thread_holds_it(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\naws_access_key_id = AKIAFORK\naws_secret_access_key = x\n")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "x"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(tmp_path / "lock")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    try:
        async with asyncio.timeout(50):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    told = json.loads(out)
    assert not told["stuck"]
    assert made().keys() - ELSEWHERE <= set(told["held"]), (
        "a lock that this test does not hold: let its program make it"
    )
    assert len(told["held"]) >= 6
