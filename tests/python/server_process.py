"""A real swiftlet-server on free ports in a temporary directory, with a small trained snapshot."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

NUM_USERS, NUM_ITEMS = 60, 40


def _write_data(directory: Path) -> None:
    """Users of even number like items of even number, and the others the others."""
    draw = random.Random(1)
    lines = ["user,item,type,timestamp"]
    for user in range(NUM_USERS):
        for n, half in enumerate(draw.sample(range(NUM_ITEMS // 2), 8)):
            lines.append(f"u{user},i{2 * half + user % 2},view,{1_700_000_000 + 100 * n + user}")
    (directory / "events.csv").write_text("\n".join(lines) + "\n")
    items = ["item,title,categories"]
    items += [f"i{n},Title {n},{'Odd' if n % 2 else 'Even'}" for n in range(NUM_ITEMS)]
    (directory / "items.csv").write_text("\n".join(items) + "\n")


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ServerProcess:
    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="swiftlet-python-"))
        self._process: subprocess.Popen | None = None
        self.address = ""
        _write_data(self.dir)

    def train(self, measured: bool = False) -> None:
        """measured: with the last event of each user held out, the metrics of which go into the snapshot."""
        command = [os.environ["SWIFTLET_TRAINER"], "train", "--events", "events.csv", "--items", "items.csv"]
        command += [] if measured else ["--no-holdout"]
        command += ["--models", "models", "--dim", "8", "--als-epochs", "3", "--epochs", "1", "--threads", "1"]
        subprocess.run(command, cwd=self.dir, check=True, stdout=subprocess.DEVNULL)

    def start(self, listen: str = "127.0.0.1:0", *arguments: str) -> None:
        """The server is killed when the thread that called this ends."""
        ports = self.dir / "ports"
        ports.unlink(missing_ok=True)
        command = [os.environ["SWIFTLET_SERVER"], "--listen", listen, "--metrics", "127.0.0.1:0"]
        command += ["--data-dir", "data", "--model-dir", "models", "--port-file", "ports", *arguments]
        with open(self.dir / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.dir, stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        end = time.monotonic() + 60
        while not ports.exists() or not ports.read_text().endswith("\n"):
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server did not start:\n{self.log()}")
            time.sleep(0.01)
        self.address = listen if listen.startswith("unix:") else f"127.0.0.1:{ports.read_text().split()[0]}"

    def log(self) -> str:
        return (self.dir / "server.log").read_text(errors="replace")

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)
