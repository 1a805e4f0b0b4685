"""Generates swiftlet/v1 from the protocol's .proto files while building; the rest is in pyproject.toml.

Needs protoc, and for the *_pb2_grpc modules grpc_python_plugin (Debian: protobuf-compiler and
protobuf-compiler-grpc). $PROTOC and $GRPC_PYTHON_PLUGIN name others than those in PATH.
"""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent


def proto_dir() -> Path:
    """In a source distribution beside this file, in the repository two folders up."""
    for path in (HERE / "proto", HERE.parent.parent / "proto"):
        if (path / "swiftlet/v1/types.proto").is_file():
            return path
    raise SystemExit(f"the .proto files are neither in {HERE}/proto nor in {HERE.parent.parent}/proto")


def protos() -> list:
    """Of the API: all but the server's configuration."""
    return sorted(p for p in (proto_dir() / "swiftlet/v1").glob("*.proto") if p.name != "config.proto")


def program(variable: str, name: str, package: str) -> str:
    path = os.environ.get(variable) or shutil.which(name)
    if not path:
        raise SystemExit(f"{name} is not in PATH (Debian: apt-get install {package}); or set ${variable}")
    return path


class BuildPy(build_py):
    def run(self):
        super().run()
        if getattr(self, "editable_mode", False):
            raise SystemExit("an editable install has no place for generated code: build a wheel")
        out = Path(self.build_lib)
        protoc = program("PROTOC", "protoc", "protobuf-compiler")
        plugin = program("GRPC_PYTHON_PLUGIN", "grpc_python_plugin", "protobuf-compiler-grpc")
        out.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                protoc,
                f"-I{proto_dir()}",
                f"--python_out={out}",
                f"--pyi_out={out}",
                f"--grpc_out={out}",
                f"--plugin=protoc-gen-grpc={plugin}",
                *map(str, protos()),
            ],
            check=True,
        )
        (out / "swiftlet/v1/__init__.py").write_text('"""Generated: the messages and services of the API."""\n')
        for empty in (out / "swiftlet/v1").glob("types_pb2_grpc.py"):  # no service in it
            empty.unlink()


class Sdist(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        target = Path(base_dir) / "proto/swiftlet/v1"
        target.mkdir(parents=True, exist_ok=True)
        for proto in protos():
            shutil.copy(proto, target)


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
