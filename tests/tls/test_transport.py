"""TLS: who is let in, what is refused, and how certificates change."""

import socket
import ssl
import time

import pytest

from access import HOSTS, batchnormd, dial, files, refused  # noqa: F401
from certificates import Authority, self_signed
from conftest import start_server

from batchnorm.v1 import batch_norm_service_pb2 as pb

LIST = pb.ListSessionsRequest()


def served_certificate(address):
    """What the server shows a new connection, as PEM."""
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        with context.wrap_socket(plain) as encrypted:
            return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(True)).encode()


def await_certificate(address, certificate, seconds):
    deadline = time.monotonic() + seconds
    while served_certificate(address) != certificate:
        assert time.monotonic() < deadline, f"the old one after {seconds} s"
        time.sleep(0.05)


def await_log(server, text, seconds=10):
    deadline = time.monotonic() + seconds
    while text not in server.log():
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.05)


@pytest.fixture
def server(bin_dir, tmp_path, files):
    with start_server(bin_dir, tmp_path, *files.tls()) as running:
        yield running


def test_who_trusts_the_authority_is_served(server, files):
    with dial(server.address, files.authority.pem) as stubs:
        assert not stubs.ListSessions(LIST, timeout=10).sessions


def test_plaintext_is_not_understood_on_a_tls_port(server):
    with dial(server.address) as stubs:
        assert refused(stubs.ListSessions, LIST)[0] == "UNAVAILABLE"


def test_a_server_of_another_authority_is_not_trusted(server):
    with dial(server.address, Authority().pem) as stubs:
        assert refused(stubs.ListSessions, LIST)[0] == "UNAVAILABLE"


def test_a_unix_socket_is_not_encrypted(bin_dir, tmp_path, files):
    socket_address = f"unix:{tmp_path}/bn.sock"
    with start_server(bin_dir, tmp_path, *files.tls(), listen=socket_address):
        with dial(socket_address) as stubs:
            assert not stubs.ListSessions(LIST, timeout=10).sessions


@pytest.mark.parametrize("who", ["nobody", "self-signed", "expired", "of another authority"])
def test_mutual_tls_refuses_the_handshake_to(bin_dir, tmp_path, files, who):
    clients = {
        "nobody": lambda: None,
        "self-signed": lambda: files.client("vision", pair=self_signed("vision")),
        "expired": lambda: files.client("vision", expired=True),
        "of another authority": lambda: files.client(
            "vision", pair=Authority("test authority").issue("vision")),
    }
    with start_server(bin_dir, tmp_path, *files.tls(),
                      "--tls-client-ca", files.path("ca.pem")) as server:
        with dial(server.address, files.authority.pem, clients[who]()) as stubs:
            assert refused(stubs.ListSessions, LIST)[0] == "UNAVAILABLE"
        with dial(server.address, files.authority.pem, files.client("good")) as stubs:
            assert not stubs.ListSessions(LIST, timeout=10).sessions


def test_a_new_pair_serves_within_3_s_and_old_connections_go_on(server, files):
    with dial(server.address, files.authority.pem) as stubs:
        stubs.ListSessions(LIST, timeout=10)
        new = files.authority.issue("server", HOSTS)
        files.put(new)
        await_certificate(server.address, new.certificate, 3)
        stubs.ListSessions(LIST, timeout=10)
    assert "certificates: read again, in force" in server.log()
    assert "damaged" not in server.log()


@pytest.mark.parametrize("damage, complaint", [
    (lambda files: files.write("server.pem", b"not a certificate\n"),
     "server.pem: expected certificates in PEM"),
    (lambda files: files.write("server.pem", b""), "expected certificates"),
    (lambda files: files.write(
        "server.key", files.authority.issue("server", HOSTS).key),
     "expected the key of"),
    (lambda files: files.write("server.key", b"x"), "expected a private key"),
    (lambda files: files.put(files.authority.issue("server", HOSTS, expired=True)),
     "which is not now"),
    (lambda files: files.path("server.pem").unlink(), "cannot read"),
], ids=["text", "empty", "of another key", "no key", "expired", "missing"])
def test_a_damaged_pair_replaces_nothing_and_is_told_once(
        server, files, damage, complaint):
    old = files.path("server.pem").read_bytes()
    damage(files)
    await_log(server, "the old ones stay")
    assert complaint in server.log()
    assert served_certificate(server.address) == old
    with dial(server.address, files.authority.pem) as stubs:
        stubs.ListSessions(LIST, timeout=10)
    time.sleep(2.5)
    assert server.log().count("the old ones stay") == 1
    assert "BEGIN" not in server.log()
    mended = files.authority.issue("server", HOSTS)
    files.put(mended)
    await_certificate(server.address, mended.certificate, 3)


def test_half_of_a_new_pair_is_not_called_damaged(server, files):
    new = files.authority.issue("server", HOSTS)
    files.write("server.pem", new.certificate)
    time.sleep(0.3)
    files.write("server.key", new.key)
    await_certificate(server.address, new.certificate, 3)
    assert "damaged" not in server.log()


@pytest.mark.parametrize("flags, complaint", [
    (["--tls-cert", "server.pem"], "--tls-cert, --tls-key: expected both"),
    (["--tls-key", "server.key"], "--tls-cert, --tls-key: expected both"),
    (["--tls-client-ca", "ca.pem"], "--tls-client-ca"),
    (["--tls-cert", "server.pem", "--tls-key", "ca.pem"], "ca.pem: expected a private key"),
    (["--tls-cert", "none.pem", "--tls-key", "server.key"], "cannot read"),
    (["--tls-cert", "server.pem", "--tls-key", "server.key",
      "--tls-client-ca", "server.key"], "server.key: expected certificates"),
])
def test_a_server_does_not_start_on_wrong_files(bin_dir, tmp_path, files, flags, complaint):
    words = [word if word.startswith("--") else files.path(word) for word in flags]
    result = batchnormd(bin_dir, "--listen", "localhost:0", "--store", "memory", *words)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "BEGIN" not in result.stderr
