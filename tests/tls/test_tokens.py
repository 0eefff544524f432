"""Bearer tokens, and the tenants that tokens and certificates name."""

import json
import subprocess
import time

import grpc
import numpy as np
import pytest

from access import batchnormd, bearer, dial, files, refused  # noqa: F401
from certificates import Authority
from conftest import clean_environment, start_server

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import session_pb2, tensor_pb2

VISION, SPEECH, EXPIRED = "vision-token-0123456789", "speech-token-0123456789", "expired-token-0123456789"
TOKENS = f"""# tenants of the tests
vision  {VISION}
vision  another-{VISION}
speech\t{SPEECH}  2099-01-01T00:00:00Z

late    {EXPIRED}  2020-01-01T00:00:00Z
""".encode()
LIST = pb.ListSessionsRequest()
MODE_TRAIN = 1


def create(name):
    return pb.CreateSessionRequest(
        name=name, config=session_pb2.SessionConfig(channels=2))


def tensor(*shape):
    values = np.arange(np.prod(shape), dtype="<f8").reshape(shape)
    return tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_F64, shape=shape,
                             data=values.tobytes())


@pytest.fixture
def server(bin_dir, tmp_path, files):
    files.write("tokens", TOKENS)
    with start_server(bin_dir, tmp_path, "--tokens", files.path("tokens"),
                      "--log-level", "debug") as running:
        yield running


@pytest.fixture
def stubs(server):
    with dial(server.address) as stubs:
        yield stubs


def test_a_call_with_a_token_is_served(stubs):
    for token in (VISION, "another-" + VISION, SPEECH):
        assert not stubs.ListSessions(LIST, timeout=10, metadata=bearer(token)).sessions


@pytest.mark.parametrize("metadata, reason", [
    ((), "TOKEN_MISSING"),
    ((("authorization", ""),), "TOKEN_MISSING"),
    ((("authorization", "Basic " + VISION),), "TOKEN_MISSING"),
    ((("authorization", VISION),), "TOKEN_MISSING"),
    (bearer(""), "TOKEN_WRONG"),
    (bearer(VISION[:-1]), "TOKEN_WRONG"),
    (bearer(VISION + "x"), "TOKEN_WRONG"),
    (bearer("x" * 4000), "TOKEN_WRONG"),
    (bearer(EXPIRED), "TOKEN_EXPIRED"),
])
def test_a_call_without_a_good_token_is_unauthenticated(stubs, metadata, reason):
    calls = [(stubs.ListSessions, LIST), (stubs.CreateSession, create("s")),
             (stubs.Evaluate, pb.EvaluateRequest()),
             (stubs.Join, pb.JoinRequest(session="s"))]
    for call, request in calls:
        code, got, text = refused(call, request, metadata=metadata)
        assert (code, got) == ("UNAUTHENTICATED", reason)
        assert text.startswith("authorization: expected ")


def test_the_scheme_is_of_any_case(stubs):
    stubs.ListSessions(LIST, timeout=10, metadata=(("authorization", "bEARER " + VISION),))


def test_no_token_is_ever_logged(server, stubs):
    stubs.ListSessions(LIST, timeout=10, metadata=bearer(VISION))
    wrong = "wrong-token-0123456789"
    for token in (wrong, EXPIRED):
        refused(stubs.ListSessions, LIST, metadata=bearer(token))
    deadline = time.monotonic() + 10
    while server.log().count("ListSessions") < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.log().count("ListSessions") >= 3
    for token in (VISION, wrong, EXPIRED):
        assert token not in server.log()


def test_health_needs_no_token(server, bin_dir):
    done = subprocess.run([str(bin_dir / "bn"), "health", "--server", server.address],
                          env=clean_environment(), capture_output=True, timeout=30)
    assert done.returncode == 0


def step(session):
    return pb.ForwardRequest(session=session, mode=MODE_TRAIN, step=1, x=tensor(4, 2))


NAMED = {
    "GetSession": lambda name: pb.GetSessionRequest(name=name),
    "UpdateSession": lambda name: pb.UpdateSessionRequest(name=name, world_size=1),
    "AcquireSession": lambda name: pb.AcquireSessionRequest(name=name, nonce=b"0123456789abcdef"),
    "ExportSession": lambda name: pb.ExportSessionRequest(name=name),
    "DeleteSession": lambda name: pb.DeleteSessionRequest(name=name),
    "Forward": step,
    "Backward": lambda name: pb.BackwardRequest(session=name, step=1, dy=tensor(4, 2)),
    "Sync": lambda name: pb.SyncRequest(session=name, step=1),
    "Join": lambda name: pb.JoinRequest(session=name, job="j"),
}


@pytest.mark.parametrize("method", NAMED)
@pytest.mark.parametrize("spelling", ["{}", "~vision/{}", "vision/{}"])
def test_anothers_session_is_not_found_like_one_that_never_was(stubs, method, spelling):
    stubs.CreateSession(create("secret"), timeout=10, metadata=bearer(VISION))
    call = getattr(stubs, method)

    def told(name):
        code, reason, text = refused(call, NAMED[method](name), metadata=bearer(SPEECH))
        return code, reason, text.replace(name, "NAME")

    there = told(spelling.format("secret"))
    assert there == told(spelling.format("nobody"))
    assert there[:2] == ("NOT_FOUND", "SESSION_NOT_FOUND")
    kept = stubs.GetSession(pb.GetSessionRequest(name="secret"), timeout=10,
                            metadata=bearer(VISION))
    assert kept.session.last_step == 0


def names(stubs, token, **fields):
    listed = stubs.ListSessions(pb.ListSessionsRequest(**fields), timeout=10,
                                metadata=bearer(token))
    return [session.name for session in listed.sessions], listed.next_page_token


def test_tenants_have_names_and_steps_of_their_own(stubs):
    for token, steps in ((VISION, 2), (SPEECH, 0)):
        reply = stubs.CreateSession(create("same"), timeout=10, metadata=bearer(token))
        assert reply.session.name == "same"
        for number in range(1, steps + 1):
            request = step("same")
            request.step = number
            stubs.Forward(request, timeout=10, metadata=bearer(token))
    for token, steps in ((VISION, 2), (SPEECH, 0)):
        got = stubs.GetSession(pb.GetSessionRequest(name="same"), timeout=10,
                               metadata=bearer(token))
        assert got.session.last_step == steps
    stubs.DeleteSession(pb.DeleteSessionRequest(name="same"), timeout=10,
                        metadata=bearer(SPEECH))
    assert names(stubs, VISION)[0] == ["same"]
    assert names(stubs, SPEECH)[0] == []


def test_a_list_has_its_own_tenants_names_page_by_page(stubs):
    for token, prefix in ((VISION, "v"), (SPEECH, "s")):
        for i in range(5):
            stubs.CreateSession(create(f"{prefix}{i}"), timeout=10, metadata=bearer(token))
    for token, prefix in ((VISION, "v"), (SPEECH, "s")):
        seen, page_token = [], ""
        while True:
            page, page_token = names(stubs, token, page_size=2, page_token=page_token)
            seen += page
            if not page_token:
                break
        assert seen == [f"{prefix}{i}" for i in range(5)]
        assert names(stubs, token, prefix=prefix + "3")[0] == [prefix + "3"]
        assert names(stubs, token, prefix="~")[0] == []
    foreign = names(stubs, VISION, page_size=2)[1]
    assert names(stubs, SPEECH, page_size=2, page_token=foreign)[0] in (["s0", "s1"], [])


def test_sessions_of_tenants_last_and_are_hidden_when_nobody_says_who(
        bin_dir, tmp_path, files):
    files.write("tokens", TOKENS)

    def start(*flags):
        (tmp_path / "addresses").unlink(missing_ok=True)  # the one before wrote it
        return start_server(bin_dir, tmp_path, *flags)

    with start("--tokens", files.path("tokens")) as server:
        with dial(server.address) as stubs:
            stubs.CreateSession(create("kept"), timeout=10, metadata=bearer(VISION))
    with start() as server, dial(server.address) as stubs:
        stubs.CreateSession(create("open"), timeout=10)
        assert [s.name for s in stubs.ListSessions(LIST, timeout=10).sessions] == ["open"]
        for spelling in ("kept", "~vision/kept"):
            assert refused(stubs.GetSession, pb.GetSessionRequest(name=spelling))[0] == "NOT_FOUND"
        assert refused(stubs.CreateSession, create("~vision/kept"))[1] == "BAD_NAME"
    with start("--tokens", files.path("tokens")) as server:
        with dial(server.address) as stubs:
            assert names(stubs, VISION)[0] == ["kept"]


def test_tokens_change_while_it_serves(server, stubs, files):
    new = "new-token-0123456789"
    files.write("tokens", f"vision {new}\n".encode())
    deadline = time.monotonic() + 3
    while True:
        try:
            stubs.ListSessions(LIST, timeout=10, metadata=bearer(new))
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert refused(stubs.ListSessions, LIST, metadata=bearer(VISION))[1] == "TOKEN_WRONG"
    files.write("tokens", b"vision short\n")
    time.sleep(3)
    stubs.ListSessions(LIST, timeout=10, metadata=bearer(new))
    assert "tokens: the new ones are damaged, the old ones stay" in server.log()
    assert "short" not in server.log()


def test_a_client_certificate_names_the_tenant(bin_dir, tmp_path, files):
    ca = files.authority.pem
    with start_server(bin_dir, tmp_path, *files.tls(),
                      "--tls-client-ca", files.path("ca.pem")) as server:
        with dial(server.address, ca, files.client("vision")) as stubs:
            stubs.CreateSession(create("secret"), timeout=10)
        with dial(server.address, ca, files.client("speech")) as stubs:
            assert not stubs.ListSessions(LIST, timeout=10).sessions
            assert refused(stubs.GetSession, pb.GetSessionRequest(name="secret"))[0] == "NOT_FOUND"
        with dial(server.address, ca, files.client("vision")) as stubs:
            assert len(stubs.ListSessions(LIST, timeout=10).sessions) == 1
        with dial(server.address, ca, files.client("no tenant at all")) as stubs:
            assert refused(stubs.ListSessions, LIST)[:2] == (
                "UNAUTHENTICATED", "CERTIFICATE_NAMES_NO_TENANT")


def test_with_both_the_token_names_the_tenant(bin_dir, tmp_path, files):
    files.write("tokens", TOKENS)
    with start_server(bin_dir, tmp_path, *files.tls(),
                      "--tls-client-ca", files.path("ca.pem"),
                      "--tokens", files.path("tokens")) as server:
        with dial(server.address, files.authority.pem, files.client("speech")) as stubs:
            stubs.CreateSession(create("of-vision"), timeout=10, metadata=bearer(VISION))
            assert names(stubs, VISION)[0] == ["of-vision"]
            assert names(stubs, SPEECH)[0] == []
            assert refused(stubs.ListSessions, LIST)[1] == "TOKEN_MISSING"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "example.org:50051"])
def test_tokens_do_not_travel_in_plaintext(bin_dir, files, address):
    files.write("tokens", TOKENS)
    result = batchnormd(bin_dir, "--listen", address, "--store", "memory",
                        "--tokens", files.path("tokens"))
    assert result.returncode == 2
    assert "--tokens without --tls-cert" in result.stderr and address in result.stderr
    assert VISION not in result.stderr


@pytest.mark.parametrize("line, complaint", [
    ("vision", "expected TENANT TOKEN [EXPIRY]"),
    ("vision a b c", "expected TENANT TOKEN [EXPIRY]"),
    ("vis/ion " + VISION, "a tenant's name"),
    ("vision short-token", "expected a token of 16"),
    ("vision " + VISION + " tomorrow", "expected an expiry like"),
    ("vision " + VISION + "\nspeech " + VISION, "got one of a line above"),
])
def test_a_wrong_token_file_is_told_by_line_and_shown_to_nobody(bin_dir, files, line, complaint):
    files.write("tokens", ("# comment\n" + line + "\n").encode())
    result = batchnormd(bin_dir, "--listen", "localhost:0", "--store", "memory",
                        "--tokens", files.path("tokens"))
    number = 2 + line.count("\n")
    assert result.returncode == 2
    assert f"tokens:{number}: " in result.stderr and complaint in result.stderr
    for secret in (VISION, "short-token", "tomorrow"):
        assert secret not in result.stderr


@pytest.mark.parametrize("settings, warnings", [
    (["--listen", "0.0.0.0:0"], ["--listen 0.0.0.0:0 without --tls-cert"]),
    (["--listen", "0.0.0.0:0", "TLS"], ["--listen 0.0.0.0:0 without --tokens or --tls-client-ca"]),
    (["--listen", "0.0.0.0:0", "TLS", "TOKENS"], []),
    (["--listen", "localhost:0"], []),
    (["--listen", "localhost:0", "--durability", "off"], ["--durability off"]),
    (["--listen", "localhost:0", "OPEN", "TLS", "TOKENS"], ["--tls-key ", "--tokens "]),
])
def test_each_unsafe_setting_is_warned_of_by_name(bin_dir, tmp_path, files, settings, warnings):
    files.write("tokens", TOKENS)
    if "OPEN" in settings:
        for name in ("server.key", "tokens"):
            files.path(name).chmod(0o644)
    words = {"TLS": files.tls(), "TOKENS": ["--tokens", files.path("tokens")], "OPEN": []}
    flags = [part for word in settings for part in words.get(word, [word])]
    flags = flags[2:]
    with start_server(bin_dir, tmp_path, *flags, listen=settings[1]) as server:
        log = server.log()
    assert log.count("unsafe: ") == len(warnings)
    for warning in warnings:
        assert "unsafe: " + warning in log


def bn(bin_dir, server, *words, **environment):
    return subprocess.run(
        [str(bin_dir / "bn"), *map(str, words)],
        env=clean_environment(BN_SERVER=server.address, **environment),
        capture_output=True, text=True, timeout=60)


def test_bn_encrypts_and_says_who_calls(bin_dir, tmp_path, files):
    files.write("tokens", TOKENS)
    files.write("mine", (VISION + "\n").encode())
    certificate, key = files.client("someone")
    with start_server(bin_dir, tmp_path, *files.tls(),
                      "--tls-client-ca", files.path("ca.pem"),
                      "--tokens", files.path("tokens")) as server:
        flags = ["--tls-ca", files.path("ca.pem"), "--tls-cert", certificate,
                 "--tls-key", key, "--token-file", files.path("mine")]
        variables = {"BN_TLS_CA": str(files.path("ca.pem")),
                     "BN_TLS_CERT": str(certificate), "BN_TLS_KEY": str(key),
                     "BN_TOKEN_FILE": str(files.path("mine"))}
        made = bn(bin_dir, server, "session", "create", "s", "--channels", "2", *flags)
        assert made.returncode == 0, made.stderr
        listed = bn(bin_dir, server, "session", "list", "--format", "json", **variables)
        assert listed.returncode == 0, listed.stderr
        assert "s" in json.dumps(json.loads(listed.stdout))
        missing = bn(bin_dir, server, "session", "list", *flags[:-2])
        assert missing.returncode == 64 + 16
        assert "TOKEN_MISSING" in missing.stderr and "--token-file" in missing.stderr
        untrusted = tmp_path / "other.pem"
        untrusted.write_bytes(Authority("other").pem)
        stranger = bn(bin_dir, server, "session", "list", "--timeout", "3s",
                      "--tls-ca", untrusted, *flags[2:])
        assert stranger.returncode == 64 + 14
        assert "no encrypted connection" in stranger.stderr and "--tls-ca" in stranger.stderr
        plain = bn(bin_dir, server, "session", "list", "--timeout", "3s")
        assert plain.returncode == 64 + 14 and "--tls-ca" in plain.stderr
        for told in (stranger, plain):
            assert told.stderr.startswith("error: "), told.stderr


def test_bn_sends_no_token_for_others_to_read(bin_dir, files):
    files.write("mine", (VISION + "\n").encode())
    done = subprocess.run(
        [str(bin_dir / "bn"), "session", "list", "--server", "192.0.2.1:50051",
         "--token-file", str(files.path("mine"))],
        env=clean_environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 64 + 3
    assert "TOKEN_IN_PLAINTEXT" in done.stderr and "--tls-ca" in done.stderr
    assert VISION not in done.stderr


@pytest.mark.parametrize("flags, complaint", [
    (["--tls-ca", "/no/such.pem"], "/no/such.pem: cannot be read"),
    (["--tls-cert", "ca.pem"], "a certificate and its key"),
    (["--token-file", "two"], "expected one word"),
])
def test_bn_explains_files_that_are_of_no_use(bin_dir, files, flags, complaint):
    files.write("two", b"two words\n")
    words = [word if word[0] in "-/" else str(files.path(word)) for word in flags]
    done = subprocess.run([str(bin_dir / "bn"), "session", "list", *words],
                          env=clean_environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert complaint in done.stderr
