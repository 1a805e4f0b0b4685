"""A real server that listens for HTTP, and ways to call it."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))
from server_process import ServerProcess  # noqa: E402  pylint: disable=wrong-import-position


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def error(self):
        """(HTTP status, google.rpc status, message), of which the first stands in the body, too."""
        error = self.json["error"]
        assert error["code"] == self.status, self.text
        return self.status, error["status"], error["message"]


def send(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    return Answer(connection.getresponse())


class HttpCase(unittest.TestCase):
    """Starts a server for each test, with a snapshot where `trained`."""

    trained = False

    @classmethod
    def setUpClass(cls):
        cls.made = ServerProcess()
        cls.addClassCleanup(cls.made.remove)
        if cls.trained:
            cls.made.train()

    def start(self, *arguments, config="", listen=("--http-listen", "127.0.0.1:0")):
        (self.made.dir / "config").write_text(config)
        self.made.start("127.0.0.1:0", "--config", "config", *listen, *arguments)
        self.addCleanup(self.made.stop)
        self.port = int((self.made.dir / "ports").read_text().split()[2])

    def connect(self, source="127.0.0.1"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(source, 0))
        self.addCleanup(connection.close)
        return connection

    def call(self, method, request=None, connection=None, **headers):
        """method: "Service/Method"; request: an object, or text as it is."""
        body = request if isinstance(request, (str, bytes)) else json.dumps(request or {})
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(connection or self.connect(), "POST", f"/v1/{method}", body,
                    {"Content-Type": "application/json", **headers})

    def get(self, path, method="GET", **headers):
        return send(self.connect(), method, path, headers=headers)

    def raw(self, data=b""):
        """A connection without any protocol."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(connection.close)
        connection.sendall(data)
        return connection

    def read_all(self, connection):
        """What comes until the server closes the connection."""
        data = b""
        try:
            while part := connection.recv(65536):
                data += part
        except ConnectionResetError:
            pass
        return data

    def token(self, name, role):
        """A new one, in the file `tokens`."""
        return subprocess.run([os.environ["SWIFTLET_CLI"], "token", "new", "--name", name, "--role", role,
                               "--file", str(self.made.dir / "tokens")], capture_output=True, text=True, check=True).stdout.strip()

    def metric(self, series):
        port = (self.made.dir / "ports").read_text().split()[1]
        page = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        page.request("GET", "/metrics")
        text = page.getresponse().read().decode()
        page.close()
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
        return float(found[1]) if found else None


def run_server(*arguments):
    return subprocess.run([os.environ["SWIFTLET_SERVER"], *arguments], capture_output=True, text=True, check=False)
