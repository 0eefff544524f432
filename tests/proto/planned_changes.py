"""The declarations of proto/README.md, applied to a copy of the contract.

A block's service, enum or message that exists gets the block's lines at its
end; one that does not is appended to the service's file.
"""

import pathlib
import re
import shutil

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
README = PROTO / "README.md"
SERVICE_FILE = "batchnorm/v1/batch_norm_service.proto"

BLOCK = re.compile(r"^```proto\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# With its comments; everything in the house style ends with "}" at column 0.
DECLARATION = re.compile(
    r"((?://[^\n]*\n)*)(message|service|enum) (\w+) \{\n(.*?)^\}\n",
    re.MULTILINE | re.DOTALL)


def blocks(text):
    return BLOCK.findall(text)


def declarations(block):
    """The (kind, name, body, whole text) of each declaration of a block."""
    found = [(m[2], m[3], m[4], m[0]) for m in DECLARATION.finditer(block)]
    rest = DECLARATION.sub("", block).strip()
    assert not rest, f"expected declarations only, got: {rest}"
    return found


def insert(text, kind, name, body):
    """The file's text with the body at the end of a declaration, or None."""
    pattern = re.compile(rf"^{kind} {name} \{{\n.*?^\}}\n",
                         re.MULTILINE | re.DOTALL)
    match = pattern.search(text)
    if match is None:
        return None
    end = match.end() - len("}\n")
    return text[:end] + body + text[end:]


def apply(module, kind, name, body, whole):
    for path in sorted(module.glob("batchnorm/v1/*.proto")):
        changed = insert(path.read_text(), kind, name, body)
        if changed is not None:
            path.write_text(changed)
            return
    with open(module / SERVICE_FILE, "a", encoding="utf-8") as file:
        file.write("\n" + whole)


def copy_contract(folder):
    module = folder / "proto"
    shutil.copytree(PROTO, module, ignore=shutil.ignore_patterns("wire"))
    return module


def apply_readme(module, text):
    """Applies every block of the text; returns how many there were."""
    found = blocks(text)
    for block in found:
        for declaration in declarations(block):
            apply(module, *declaration)
    return len(found)
