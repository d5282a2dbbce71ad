"""What is wrong with a server's TLS is told apart, and the operator's certificates are added to the public ones."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from ingest.download.fetch import Fetch, Fetched
from ingest.http import Cancellation, Guard
from ingest.http.adapter import GuardedAdapter
from ingest.http.failures import download_error
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.certificates import Authority
from tests.support.network.sources import TLS_AUTHORITY, serve

IMAGE = b"\xff\xd8\xff\xe0" + bytes(100)
LOCAL = Guard(Allowed(["127.0.0.1"]))
OTHERS = Authority.of("127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.of("127.0.0.1")


def fetch(url: str, path: Path, bundle: Path | None) -> Fetched:
    settings = IngestSettings(source_ca_bundle=bundle)
    return Fetch(url, path, settings=settings, guard=LOCAL, progress=lambda done, total: None).run()


@pytest.mark.parametrize("make", [Authority.good, lambda one: one.intermediate(complete=True)], ids=["direct", "chain"])
def test_a_certificate_in_order_is_accepted(
    authority: Authority, tmp_path: Path, make: Callable[[Authority], ssl.SSLContext]
) -> None:
    with serve(tls=make(authority)) as server:
        server.on("/a", answers.whole(IMAGE))
        assert fetch(server.url("/a"), tmp_path / "got", authority.bundle(tmp_path)).bytes == len(IMAGE)


WRONG: dict[str, tuple[Callable[[Authority], ssl.SSLContext], str, bool]] = {
    "expired": (Authority.expired, "has expired. Have the server's owner renew it", False),
    "not yet valid": (Authority.not_yet_valid, "is not valid yet. Have the operator check the worker's clock", False),
    "another name": (Authority.other_name, "is for another name", False),
    "incomplete": (lambda one: one.intermediate(complete=False), "sends an incomplete chain", False),
    "another authority": (lambda _: OTHERS.good(), "TILEWRIGHT_SOURCE_CA_BUNDLE", False),
    "old": (Authority.old, "offers only versions of TLS before 1.2", False),
    "for clients": (Authority.for_clients, "or wants a client certificate", False),
}


@pytest.mark.parametrize(("make", "said", "retryable"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_tls_is_told_apart(
    authority: Authority, tmp_path: Path, make: Callable[[Authority], ssl.SSLContext], said: str, retryable: bool
) -> None:
    with serve(tls=make(authority)) as server:
        server.on("/a", answers.whole(IMAGE))
        with pytest.raises(StageError) as failure:
            fetch(server.url("/a"), tmp_path / "got", authority.bundle(tmp_path))
        assert (failure.value.code, failure.value.retryable) == ("source_unreachable", retryable)
        assert said in failure.value.message
        assert "127.0.0.1" in failure.value.message
        assert server.requests == {}


def test_a_server_without_tls_is_told_from_others(tmp_path: Path) -> None:
    with serve() as server, pytest.raises(StageError, match="does not speak TLS on this port"):
        fetch(server.url("/a").replace("http:", "https:"), tmp_path / "got", None)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("DH_KEY_TOO_SMALL", "no secure cipher"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "client certificate"),
        ("TLSV1_UNRECOGNIZED_NAME", "does not know this name"),
        ("UNSUPPORTED_PROTOCOL", "before 1.2"),
        ("SOMETHING_NEW", "Check its TLS configuration"),
    ],
)
def test_each_reason_of_openssl_has_a_sentence(reason: str, said: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    assert said in download_error(error, "example.org").message


@pytest.mark.parametrize(
    ("code", "said"), [(18, "self-signed"), (19, "self-signed"), (23, "revoked"), (66, "too weak")]
)
def test_each_result_of_a_verification_has_a_sentence(code: int, said: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "the key is too weak"
    assert said in download_error(error, "example.org").message


def test_the_operators_certificates_are_added_to_the_public_ones(tmp_path: Path) -> None:
    # Given a bundle that has one certificate, and a "public" one that is another
    adapter = GuardedAdapter(LOCAL, Cancellation(), 1000, TLS_AUTHORITY)
    context = adapter.poolmanager.connection_pool_kw["ssl_context"]
    own = context.cert_store_stats()["x509_ca"]
    assert own == 1
    # When a connection is made, then it trusts both
    with serve(tls=OTHERS.good()) as server:
        server.on("/a", answers.whole(IMAGE))
        (tmp_path / "public.pem").write_bytes(OTHERS.root.cert_pem.bytes())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "public.pem"))
            assert fetch(server.url("/a"), tmp_path / "got", TLS_AUTHORITY).bytes == len(IMAGE)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_bundle_that_is_none_stops_the_worker_at_its_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValidationError, match="source_ca_bundle"):
        IngestSettings(source_ca_bundle=path)
