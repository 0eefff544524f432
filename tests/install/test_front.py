"""deploy/compose.yaml and its nginx: what can be checked without an engine, and
calls through the real nginx."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
import yaml

from conftest import ROOT, clean_environment

COMPOSE = ROOT / "deploy/compose.yaml"
CONFIGURATION = ROOT / "deploy/nginx/batchnormd.conf"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(COMPOSE.read_text())


def test_the_server_is_confined(compose):
    server = compose["services"]["batchnormd"]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in server["security_opt"]
    for service in compose["services"].values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")


def test_everything_that_compose_names_is_there(compose):
    services = compose["services"]
    build = services["batchnormd"]["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (COMPOSE.parent / source).is_file()
        for needed in service.get("depends_on", {}):
            assert needed in services
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "HEALTHCHECK" in dockerfile  # service_healthy waits for it
    [volume] = services["batchnormd"]["volumes"]
    assert f"VOLUME {volume.split(':')[1]}" in dockerfile
    stop = int(services["batchnormd"]["stop_grace_period"].rstrip("s"))
    assert stop > 5 + 20  # --drain-seconds, and what calls in flight have


def nginx_program():
    found = os.environ.get("NGINX") or shutil.which("nginx")
    assert found, "expected nginx by NGINX or on PATH; found none"
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def front(server, tmp_path):
    """nginx with the deployed configuration; only names and ports are this
    machine's."""
    port = free_port()
    text = CONFIGURATION.read_text()
    text = text.replace("server batchnormd:50051;", f"server {server.address};")
    text = text.replace("listen 50050 http2;", f"listen 127.0.0.1:{port} http2;")
    assert str(port) in text and server.address in text
    (tmp_path / "batchnormd.conf").write_text(text)
    scratch = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;\n"
        "events {}\nhttp { access_log off;\n" + scratch +
        f"include {tmp_path}/batchnormd.conf; }}\n")
    command = [nginx_program(), "-c", str(main), "-p", str(tmp_path), "-e", "stderr"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def test_a_network_is_trained_through_nginx(front, bin_dir):
    done = subprocess.run(
        [str(bin_dir / "bn"), "demo", "--no-next", "--server", front, "--format", "json"],
        env=clean_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r'"held_out_accuracy": *([0-9.]+)', done.stdout).group(1))
    assert accuracy > 0.9


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    build = pathlib.Path(os.environ.get("BN_BUILD_DIR", ROOT / "build/release"))
    unit = tmp_path / "batchnormd.service"
    text = (build / "batchnormd.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)],
                          capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "batchnormd.service" in line]
    assert said == []
