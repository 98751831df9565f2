"""An object store behind TLS with a private certificate authority, made anew for each run."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from pipeline.errors import UnavailableError
from pipeline.storage.workspace import Workspace
from tests.faults.store_proxy import StoreProxy, run_store_proxy
from tests.support.jobs import TINY, run, succeed
from tests.support.s3_server import S3Server

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine trusts."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's certificate as a file."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@contextmanager
def https(
    server: S3Server, authority: trustme.CA, host: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[StoreProxy, Workspace]]:
    """The server behind TLS with a certificate for a host, and a workspace there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    with run_store_proxy(server, tls=context) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy, Workspace.open(f"s3://{server.bucket}/tls-{proxy.server_port}", "main")


def test_a_private_authority_is_refused_in_a_sentence_that_says_what_to_set(
    s3_environment: S3Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with https(s3_environment, authority, HOST, monkeypatch) as (proxy, workspace):
        with pytest.raises(UnavailableError, match=r"certificate verify failed.*: set AWS_CA_BUNDLE to") as caught:
            workspace.check_writable()
        assert proxy.endpoint in str(caught.value)
        assert "\n" not in str(caught.value)
        assert proxy.seen == [], "no request went to a server that nobody vouches for"


def test_a_certificate_for_another_host_is_refused_though_the_authority_is_trusted(
    s3_environment: S3Server, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with https(s3_environment, authority, "store.example", monkeypatch) as (proxy, workspace):
        with pytest.raises(UnavailableError, match=r"'127\.0\.0\.1' doesn't match 'store\.example'.*host name"):
            workspace.check_writable()
        assert proxy.seen == []


def test_a_bundle_that_is_not_there_is_named(
    s3_environment: S3Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/authority.pem")
    with (
        https(s3_environment, authority, HOST, monkeypatch) as (_, workspace),
        pytest.raises(UnavailableError, match=r"No such file.*AWS_CA_BUNDLE"),
    ):
        workspace.check_writable()


def test_a_job_works_over_tls_with_the_authority_in_the_bundle_and_not_without(
    s3_environment: S3Server, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with https(s3_environment, authority, HOST, monkeypatch) as (proxy, workspace):
        flags = (*TINY, f"--workspace={workspace.store.uri}")
        refused = run("prepare", *flags)
        assert refused.code == 4 and "AWS_CA_BUNDLE" in refused.words and "Traceback" not in refused.words
        assert proxy.seen == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        done = succeed("prepare", *flags)
        assert done.report["published"] is True
        assert any("/corpus/manifests/" in request for request in proxy.seen)
