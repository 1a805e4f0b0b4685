"""The clients against a real server with TLS, clients' certificates and tokens."""

import hashlib
import os
import shutil
import subprocess
import unittest
from unittest import mock

import swiftlet
from clients import Both, for_both
from server_process import ServerProcess

SERVER = None
ADMIN, SHOP = "swl_" + "a" * 43, "swl_" + "b" * 43
VARIABLES = [f"SWIFTLET_{name}" for name in ("TLS", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_SERVER_NAME", "TOKEN", "TOKEN_FILE")]


def file(name):
    return str(SERVER.dir / name)


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=SERVER.dir, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def issue(name):
    """<name>.pem and <name>.key, of the authority ca.pem."""
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-subj", f"/CN={name}")
    (SERVER.dir / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
            "-extfile", "names", "-out", f"{name}.pem")


def setUpModule():
    global SERVER
    if "SWIFTLET_SERVER" not in os.environ:
        raise unittest.SkipTest("--server and --trainer were not given")
    if shutil.which("openssl") is None:
        raise unittest.SkipTest("openssl is not installed")
    SERVER = ServerProcess()
    unittest.addModuleCleanup(SERVER.remove)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out",
            "ca.pem", "-subj", "/CN=Test CA", "-days", "1")
    issue("server")
    issue("client")
    lines = [f"{name} {name} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"
             for name, token in (("admin", ADMIN), ("recommend", SHOP))]
    (SERVER.dir / "tokens").write_text("".join(lines))
    (SERVER.dir / "admin.token").write_text(ADMIN + "\n")
    SERVER.start("127.0.0.1:0", "--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem",
                 "--token-file", "tokens")


@for_both
class SecurityTest(Both, unittest.TestCase):
    def setUp(self):
        self.tls = swiftlet.Tls.from_files(ca=file("ca.pem"), cert=file("client.pem"), key=file("client.key"))

    def test_certificates_and_a_token_let_in(self):
        client = self.connect(SERVER.address, tls=self.tls, token=ADMIN, timeout=30.0)
        client.record_events([swiftlet.event("u1", "i1", "like", event_id="once")])
        self.assertEqual(client.get_user("u1").events[0].item_id, "i1")

    def test_settings_of_the_environment(self):
        variables = {"SWIFTLET_TLS_CA": file("ca.pem"), "SWIFTLET_TLS_CERT": file("client.pem"),
                     "SWIFTLET_TLS_KEY": file("client.key"), "SWIFTLET_TOKEN_FILE": file("admin.token")}
        with mock.patch.dict(os.environ, variables):
            client = self.connect(SERVER.address, timeout=30.0, **swiftlet.security_from_environment())
        self.assertFalse(client.get_status().draining)

    def test_what_is_missing_or_wrong_is_refused(self):
        with self.assertRaises(swiftlet.Unauthenticated):
            self.connect(SERVER.address, tls=self.tls).get_status()
        with self.assertRaises(swiftlet.Unauthenticated):
            self.connect(SERVER.address, tls=self.tls, token="swl_" + "c" * 43).get_status()
        with self.assertRaisesRegex(swiftlet.PermissionDenied, "GetStatus needs one of the roles admin"):
            self.connect(SERVER.address, tls=self.tls, token=SHOP).get_status()
        no_certificate = swiftlet.Tls.from_files(ca=file("ca.pem"))
        for tls in (None, no_certificate):
            with self.assertRaises(swiftlet.Unavailable):
                self.connect(SERVER.address, tls=tls, token=ADMIN, max_attempts=1).get_status()


class ExportTest(unittest.TestCase):
    def test_both_clients_export_a_user(self):
        import asyncio
        tls = swiftlet.Tls.from_files(file("ca.pem"), file("client.pem"), file("client.key"))
        with swiftlet.Client(SERVER.address, tls=tls, token=ADMIN, timeout=30.0) as client:
            client.record_events([swiftlet.event("u2", f"i{n}", "view", event_id=f"e{n}") for n in range(10)])
            parts = list(client.export_user("u2"))
        self.assertEqual(sum(len(part.logged_events) for part in parts), 10)
        self.assertEqual(parts[-1].summary.num_logged_events, 10)
        with swiftlet.Client(SERVER.address, tls=tls, token=SHOP) as client:
            with self.assertRaises(swiftlet.PermissionDenied):
                list(client.export_user("u2"))

        async def export():
            async with swiftlet.AsyncClient(SERVER.address, tls=tls, token=ADMIN) as client:
                return [part async for part in client.export_user("u2")]

        parts = asyncio.run(export())
        self.assertEqual([each.event.event_id for part in parts for each in part.logged_events], [f"e{n}" for n in range(10)])


class OptionsTest(unittest.TestCase):
    def test_what_makes_no_sense(self):
        with self.assertRaises(ValueError):
            swiftlet.ClientOptions(tls=swiftlet.Tls(certificate_chain=b"x"))
        with self.assertRaises(ValueError):
            swiftlet.ClientOptions(token="two\nlines")
        with self.assertRaisesRegex(ValueError, "server.key is not the key of .*client.pem"):
            swiftlet.Tls.from_files(cert=file("client.pem"), key=file("server.key"))
        with self.assertRaisesRegex(OSError, "no-such.key"):
            swiftlet.Tls.from_files(cert=file("client.pem"), key=file("no-such.key"))
        with mock.patch.dict(os.environ, {"SWIFTLET_TOKEN_FILE": os.devnull}), self.assertRaises(ValueError):
            swiftlet.security_from_environment()
        with mock.patch.dict(os.environ, {"SWIFTLET_TLS_CA": "/no/such/file"}), self.assertRaises(OSError):
            swiftlet.security_from_environment()

    def test_nothing_is_set(self):
        clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        with mock.patch.dict(os.environ, clean, clear=True):
            self.assertEqual(swiftlet.security_from_environment(), {"tls": None, "token": ""})
            os.environ["SWIFTLET_TLS"] = "1"
            os.environ["SWIFTLET_TOKEN"] = SHOP
            self.assertEqual(swiftlet.security_from_environment(), {"tls": swiftlet.Tls(), "token": SHOP})


if __name__ == "__main__":
    unittest.main()
