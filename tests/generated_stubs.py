"""Python stubs of the contract, made as any user would: protoc and grpcio's
plugin. Importing this module makes `batchnorm.v1` importable."""

import atexit
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROTO_ROOT = pathlib.Path(__file__).resolve().parents[1] / "proto"


def _program(name):
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"expected the program {name!r} on PATH, found none")
    return path


def _generate(directory):
    protos = sorted(PROTO_ROOT.glob("batchnorm/v1/*.proto"))
    protos += sorted(PROTO_ROOT.glob("google/rpc/*.proto"))
    plugin = _program("grpc_python_plugin")
    subprocess.run(
        [_program("protoc"), f"-I{PROTO_ROOT}", f"--python_out={directory}",
         f"--grpc_out={directory}", f"--plugin=protoc-gen-grpc={plugin}",
         *map(str, protos)],
        check=True)


_directory = tempfile.TemporaryDirectory(prefix="batchnorm-stubs-")
atexit.register(_directory.cleanup)
_generate(_directory.name)
sys.path.insert(0, _directory.name)
