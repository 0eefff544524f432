"""What the tests of who may call share: files, calls, refusals."""

import contextlib
import subprocess

import grpc
import pytest

import generated_stubs  # noqa: F401  (makes batchnorm.v1 importable)
from certificates import Authority
from conftest import clean_environment
from google.rpc import error_details_pb2, status_pb2

from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc

HOSTS = ("localhost", "127.0.0.1")


class Files:
    """A server's certificate, key, client authority and tokens, on disk."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority()
        self.put(self.authority.issue("server", HOSTS))
        self.write("ca.pem", self.authority.pem)
        self.write("tokens", b"")

    def path(self, name):
        return self.folder / name

    def write(self, name, content):
        """In one step, as whoever rotates secrets ought to."""
        unfinished = self.folder / (name + ".new")
        unfinished.write_bytes(content)
        unfinished.chmod(0o600)
        unfinished.rename(self.path(name))

    def put(self, pair):
        self.write("server.pem", pair.certificate)
        self.write("server.key", pair.key)

    def tls(self):
        return ["--tls-cert", self.path("server.pem"),
                "--tls-key", self.path("server.key")]

    def client(self, common_name, **how):
        """Paths of a new client certificate and its key."""
        pair = how.pop("pair", None) or self.authority.issue(common_name, **how)
        self.write(common_name + ".pem", pair.certificate)
        self.write(common_name + ".key", pair.key)
        return self.path(common_name + ".pem"), self.path(common_name + ".key")


def batchnormd(bin_dir, *words, **environment):
    """Runs one that is to end by itself."""
    return subprocess.run([str(bin_dir / "batchnormd"), *map(str, words)],
                          env=clean_environment(**environment),
                          capture_output=True, text=True, timeout=30)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return Files(folder)


@contextlib.contextmanager
def dial(address, ca=None, client=None):
    """Stubs of the service, encrypted if there is a ca. `client`: paths of a
    certificate and its key."""
    if ca is None:
        channel = grpc.insecure_channel(address)
    else:
        certificate, key = (path.read_bytes() for path in client) if client else (None, None)
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(
            root_certificates=ca, private_key=key, certificate_chain=certificate))
    try:
        yield pb_grpc.BatchNormServiceStub(channel)
    finally:
        channel.close()


def bearer(token):
    return (("authorization", "Bearer " + token),)


def reason_of(error):
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if details is None:
        return ""
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def refused(call, *arguments, **options):
    """(code's name, reason, text) of a call that must not succeed."""
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*arguments, timeout=10, **options)
        list(answer)  # a stream fails when it is read
    error = caught.value
    return error.code().name, reason_of(error), error.details()
