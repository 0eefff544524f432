"""Connects the conformance tests to a server, and prints what they counted."""

import functools

import grpc
import pytest

import generated_stubs  # noqa: F401  (makes batchnorm.v1 importable)
import two_routes
from batchnorm.v1 import batch_norm_service_pb2_grpc as service_grpc
from batchnorm.v1 import normalization_pb2 as norm

_REPORT = pytest.StashKey()


def pytest_configure(config):
    config.stash[_REPORT] = []


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash[_REPORT]
    if not lines:
        return
    terminalreporter.section("conformance")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture
def report(request):
    """report(line): the line is printed at the end of the run."""
    return request.config.stash[_REPORT].append


@pytest.fixture(scope="session")
def service(server):
    """A stub of the service, as plain grpcio gives it."""
    unlimited = [("grpc.max_send_message_length", -1),
                 ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.address, options=unlimited) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        yield service_grpc.BatchNormServiceStub(channel)


@pytest.fixture
def open_on(service):
    """open_on(route, channels, session_config={}, **normalization): a layer
    that is closed when the test ends."""
    opened = []

    def open_one(route, channels, session_config=None, **normalization):
        opened.append(two_routes.open_layer(
            service, route, channels, norm.Normalization(**normalization),
            **(session_config or {})))
        return opened[-1]

    yield open_one
    for layer in opened:
        layer.close()


@pytest.fixture(params=two_routes.ROUTES)
def open_layer(request, open_on):
    """open_on, once for each route: the test is run by both."""
    return functools.partial(open_on, request.param)


@pytest.fixture
def open_session(open_on):
    """open_on, for what only a session does."""
    return functools.partial(open_on, "session")
