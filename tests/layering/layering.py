"""Which of our folders may include which, and what breaks the rule.

The table is the house's plan (CONTRIBUTING.md): each folder, the folders of
ours that it may include, and the libraries that are its own business. Includes
of the standard library, of absl and of a folder itself are always allowed.
"""

import pathlib
import re
import sys

# folder: (our folders it may include, patterns of libraries it may include)
GENERATED = r"(batchnorm/v1|google/rpc|google/protobuf)/.*"
GRPC = r"(grpcpp|grpc)/.*"
RULES = {
    "proto/wire": ([], [GENERATED, GRPC]),
    "server/kernel": ([], [r"Eigen/.*", r"hwy/.*"]),
    "server/storage": ([], [r"absl/.*", r"sqlite3\.h"]),
    "server/access": ([], [r"absl/.*", r"openssl/.*"]),
    "server/admin": ([], [r"absl/.*", r"prometheus/.*"]),
    "server/session": (["server/kernel", "server/storage"], [r"absl/.*", r"xxh(ash|_x86dispatch)\.h"]),
    "server/rpc": (
        ["server/access", "server/session", "server/kernel", "proto/wire"],
        [GENERATED, GRPC, r"absl/.*", r"spdlog/.*"],
    ),
    "server": (
        ["server/admin", "server/rpc", "server/session", "server/storage"],
        [r"absl/.*", r"spdlog/.*", r"CLI/.*", r"nlohmann/.*", r"toml\+\+/.*"],
    ),
    # A rank whose tensors stay where they are sums and applies by the kernel.
    "client": (["proto/wire", "server/kernel"], [GENERATED, GRPC, r"absl/.*", r"gmock/.*"]),
    "client/cli": (
        ["client", "proto/wire"],
        [r"absl/.*", r"CLI/.*", r"nlohmann/.*", r"fmt/.*", r"zip\.h", r"zlib\.h"],
    ),
    "client/examples": (["client", "proto/wire"], [r"absl/.*"]),
}
RULES["proto/wire"][1].append(r"absl/.*")

STANDARD = re.compile(
    r"[a-z_0-9]+|(std[a-z]+|arpa/inet|signal|unistd|fcntl|errno|limits|time|pthread|malloc)\.h"
    r"|sys/[a-z]+\.h|[a-z]+intrin\.h|cpuid\.h"
)
# The server takes calls from completion queues: gRPC's callback API sleeps for up
# to 98 ms in the first call after a second of rest.
CALLBACK_API = re.compile(r"CallbackService|CallbackGenericService|ServerUnaryReactor")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)


def folder_of(path):
    """The longest folder of the table that holds a path, or None."""
    matches = [f for f in RULES if path.parent == pathlib.PurePosixPath(f)]
    return matches[0] if matches else None


def included_folder(include):
    """Our folder that an include names, or None if it names a library."""
    parent = str(pathlib.PurePosixPath(include).parent)
    first = parent.split("/")[0]
    is_ours = first in ("server", "client", "tests") or parent == "proto/wire"
    return parent if is_ours else None


def fault(folder, include):
    """What is wrong with an include, or None."""
    ours, libraries = RULES[folder]
    target = included_folder(include)
    if target is not None:
        allowed = target == folder or target in ours
        return None if allowed else f"{folder} may not include {target}"
    if STANDARD.fullmatch(include):
        return None
    if any(re.fullmatch(pattern, include) for pattern in libraries):
        return None
    return f"{folder} may not use <{include}>"


def violations(root):
    """All that breaks the rules below a root, as `file: reason` lines."""
    found = []
    for suffix in ("*.h", "*.cc"):
        for file in sorted(root.rglob(suffix)):
            path = pathlib.PurePosixPath(file.relative_to(root).as_posix())
            if path.parts[0] not in ("proto", "server", "client"):
                continue
            folder = folder_of(path)
            if folder is None:
                found.append(f"{path}: its folder is not in the plan")
                continue
            text = file.read_text()
            if path.parts[0] == "server" and CALLBACK_API.search(text):
                found.append(f"{path}: uses gRPC's callback API")
            for include in INCLUDE.findall(text):
                reason = fault(folder, include)
                if reason:
                    found.append(f"{path}: {reason} ({include})")
    return found


if __name__ == "__main__":
    problems = violations(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
