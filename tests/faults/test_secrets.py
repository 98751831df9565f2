"""A canary: the secret that the object store is opened with is looked for in everything that a run has written."""

import base64
import json
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.storage.object_store import open_store
from tests.support.jobs import ROOT, TINY, command, environment
from tests.support.s3_server import S3Server

SHORT = (*TINY, "--training.num_steps=4", "--corpus.source.glyphs.max_labels=30")
TIMEOUT_S = 800.0


def forms(secret: str) -> dict[str, bytes]:
    """What a secret may look like: as it is, quoted, hexadecimal, and in base64 wherever it begins in the text."""
    raw = secret.encode()
    found = {"plain": raw, "quoted": urllib.parse.quote(secret, safe="").encode(), "hexadecimal": raw.hex().encode()}
    for offset in range(3):
        # Its first and last characters depend on what stands around the secret.
        code = base64.b64encode(b"\0" * offset + raw).rstrip(b"=")[2 if offset else 0 :][2 * (offset > 1) : -1]
        found[f"base64 at {offset}"] = code
    return found


def texts(name: str, content: bytes) -> Iterator[bytes]:
    """The bytes, and what is packed in them."""
    yield content
    if name.endswith(".parquet"):
        table = pq.read_table(pa.BufferReader(content))
        yield str(table.schema.metadata).encode()
        yield str(table.select([one.name for one in table.schema if pa.types.is_string(one.type)]).to_pylist()).encode()


def leaks(written: Mapping[str, bytes], secret: str) -> list[str]:
    """Where a secret is found, and in which form."""
    wanted = forms(secret)
    return [
        f"{name} ({form})"
        for name, content in written.items()
        for text in texts(name, content)
        for form, value in wanted.items()
        if value in text
    ]


def run_and_listen(arguments: list[str], environ: dict[str, str], folder: Path) -> dict[str, bytes]:
    """Runs a job; what it printed, and how its processes were called."""
    lines: set[str] = set()
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        job = subprocess.Popen(arguments, cwd=ROOT, env=environ, stdout=out, stderr=err)
        deadline = time.monotonic() + TIMEOUT_S
        while job.poll() is None:
            assert time.monotonic() < deadline
            try:
                for process in psutil.Process(job.pid).children(recursive=True):
                    lines.add(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.3)
    words = (folder / "stderr").read_bytes()
    assert job.returncode == 0, words.decode()
    name = arguments[2]
    printed = {f"stdout of {name}": (folder / "stdout").read_bytes(), f"stderr of {name}": words}
    return printed | {f"processes of {name}": "\n".join(lines).encode()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Sockets of Ray lie below it, whose names may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="ml-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_no_credential_is_written_anywhere(s3_environment: S3Server, short_folder: Path, tmp_path: Path) -> None:
    uri, token = f"s3://{s3_environment.bucket}/canary", secrets.token_hex(32)
    places = {name: short_folder / name for name in ("home", "tmp", "ray", "export")}
    for place in places.values():
        place.mkdir()
    environ = environment(
        HOME=str(places["home"]),
        TMPDIR=str(places["tmp"]),
        RAY_TMPDIR=str(places["ray"]),
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=token,
    )
    secret = environ["AWS_SECRET_ACCESS_KEY"]
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps({"workspace": uri}))
    written: dict[str, bytes] = {}
    for name, more in (("prepare", ()), ("loop", ()), ("triplets", ("export", "--to", str(places["export"] / "x")))):
        arguments = command(name, *more, "--config", config, *SHORT, "--json")
        written |= run_and_listen(arguments, environ, tmp_path)
    store = open_store(uri)
    written |= {key: store.get(key) for key in store.list("")} | files(short_folder) | files(tmp_path)
    names = " ".join(written)
    for part in ("report.html", "manifests/", "trainer.pt", "/logs/", "README.md", "part-00000.arrow", "processes of"):
        assert part in names, f"{part} should be among what is looked at"
    print(f"looked for 2 secrets in {len(written)} files, objects and outputs of {sum(map(len, written.values())):,} B")
    assert leaks(written, secret) == []
    assert leaks(written, token) == []


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_the_search_knows_a_secret_in_every_form(before: str) -> None:
    secret = "s3cr/t+key with=signs%"
    text = f"{before}{secret}{before}"
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [text] * 9}), table, compression="zstd")
    written = {
        "plain": text.encode(),
        "quoted": urllib.parse.quote(text, safe="").encode(),
        "hexadecimal": text.encode().hex().encode(),
        "base64": base64.b64encode(text.encode()),
        "packed.parquet": table.getvalue().to_pybytes(),
    }
    assert {found.partition(" (")[0] for found in leaks(written, secret)} == set(written)
    assert leaks({"another": b"s3cr/t key"}, secret) == []
