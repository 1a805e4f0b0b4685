"""The OpenAPI document against the schema of OpenAPI 3.0, the answers of a real server against the document, and the
examples of README.md with curl."""

import json
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from http_case import ROOT, HttpCase

try:
    import jsonschema
except ImportError:
    jsonschema = None

# Of Debian's package openapi-specification.
SCHEMA = Path("/usr/share/openapi-specification/schemas/v3.0/schema.json")


class OpenApiTest(HttpCase):
    trained = True

    def test_the_document_is_what_openapi_says(self):
        if jsonschema is None or not SCHEMA.exists():
            self.skipTest("Debian's packages python3-jsonschema and openapi-specification are missing")
        self.start()
        document = self.get("/openapi.json").json
        validator = jsonschema.Draft4Validator(json.loads(SCHEMA.read_text()))
        self.assertEqual([error.message for error in validator.iter_errors(document)], [])
        broken = json.loads(json.dumps(document))
        broken["paths"]["/v1/AdminService/GetStatus"]["post"]["responses"] = {}
        self.assertFalse(validator.is_valid(broken))
        # Every reference leads somewhere, and everything is spoken of.
        schemas = document["components"]["schemas"]
        used = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
        self.assertEqual(used, set(schemas))
        # Comments of the .proto files are in it.
        self.assertIn("1 to the server's limit", schemas["RecommendRequest"]["properties"]["k"]["description"])
        self.assertIn("fsync", document["paths"]["/v1/EventService/RecordEvents"]["post"]["description"])
        # With lines put together, and tables as they are.
        record = document["paths"]["/v1/EventService/RecordEvents"]["post"]["description"]
        self.assertIn("on disk (fsync), and the next Recommend for these users reflects them.", record)
        self.assertIn("\n  INVALID_ARGUMENT    a bad field;", record)
        self.assertEqual([path for path, of in document["paths"].items() if path.startswith("/v1/") and not of["post"].get("description")],
                         [], "every method says what it does")
        self.assertIn("STATUS_DELETED", schemas["Item.Status"]["enum"])
        self.assertEqual(schemas["SnapshotInfo"]["properties"]["version"],
                         {"type": "string", "format": "int64"})
        self.assertEqual(schemas["ItemMetadata"]["properties"]["attributes"]["additionalProperties"], {"type": "string"})
        missing = [f"{name}.{field}" for name, schema in schemas.items() for field, of in schema.get("properties", {}).items()
                   if name.endswith("Config") or not isinstance(of, dict)]
        self.assertEqual(missing, [], "the configuration is no part of the API")

    def test_answers_are_what_the_document_says(self):
        if jsonschema is None:
            self.skipTest("Debian's package python3-jsonschema is missing")
        self.start()
        document = self.get("/openapi.json").json

        def strict(node):
            """Nothing but what is listed."""
            if isinstance(node, dict):
                if node.get("type") == "object" and "properties" in node:
                    node["additionalProperties"] = False
                for child in node.values():
                    strict(child)
            elif isinstance(node, list):
                for child in node:
                    strict(child)

        strict(document["components"])
        resolver = jsonschema.RefResolver.from_schema(document)

        def check(method, request):
            answer = self.call(method, request)
            operation = document["paths"][f"/v1/{method}"]["post"]["responses"]
            (content,) = operation["200" if answer.status == 200 else "default"]["content"].values()
            for line in answer.text.splitlines():
                jsonschema.validate(json.loads(line), content["schema"], cls=jsonschema.Draft4Validator, resolver=resolver)
            return answer.status

        self.assertEqual(check("EventService/RecordEvents", {"events": [{"userId": "u", "itemId": "i1", "type": "like"}]}), 200)
        self.assertEqual(check("CatalogService/UpsertItems", {"items": [
            {"itemId": "n", "metadata": {"title": "New", "categories": ["Odd"], "attributes": {"year": "1953"}}, "vector": [0.5] * 8}]}), 200)
        self.assertEqual(check("CatalogService/GetItems", {"itemIds": ["n", "i1", "zz"], "includeVectors": True}), 200)
        self.assertEqual(check("RecommendationService/Recommend",
                               {"userId": "u", "k": 5, "explain": True, "includeMetadata": True}), 200)
        self.assertEqual(check("RecommendationService/SimilarItems", {"itemId": "i1", "k": 3}), 200)
        self.assertEqual(check("RecommendationService/ScoreItems", {"userId": "u", "itemIds": ["i2", "i3"], "explain": True}), 200)
        self.assertEqual(check("UserService/GetUser", {"userId": "u"}), 200)
        self.assertEqual(check("UserService/ExportUser", {"userId": "u"}), 200)
        self.assertEqual(check("AdminService/ListSnapshots", {}), 200)
        self.assertEqual(check("AdminService/GetStatus", {}), 200)
        self.assertEqual(check("AdminService/LoadSnapshot", {"version": 77}), 404)
        self.assertEqual(check("UserService/DeleteUser", {"userId": "u"}), 200)


class ReadmeTest(HttpCase):
    trained = True

    def test_examples(self):
        if not shutil.which("curl"):
            self.skipTest("Debian's package curl is missing")
        self.start()
        examples = re.findall(r"^```sh\n(curl .*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
        self.assertGreaterEqual(len(examples), 1)
        printed = []
        for example in examples:
            script = example.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}").replace("curl ", "curl -sS --fail-with-body ")
            done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
            printed.append(done.stdout)
        text = "".join(printed)
        self.assertIn('"numRecorded":1', text)
        self.assertRegex(text, r'"itemId":"i\d+"')
        self.assertIn('"summary":', text)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main(verbosity=2)
