"""The console and the page of the API in a real browser. Skipped where there is none. SWIFTLET_SCREENSHOTS=DIRECTORY keeps
pictures of them."""

import http.client
import json
import os
import random
import shutil
import sys
import threading
import unittest
from pathlib import Path

import browser as browsers
from http_case import HttpCase, send

# As snapshots list them; Protobuf's maps have no order.
MEASURED = [{"popularity.ndcg@10": 0.09, "hr@10": 0.4, "coverage@10": 0.8, "ndcg@10": 0.12, "popularity.hr@10": 0.2, "ndcg@20": 0.15, "recall@10": 0.25},
            {"recall@10": 0.31, "popularity.recall@10": 0.11, "ndcg@20": 0.18, "hr@10": 0.5, "ndcg@10": 0.14, "mrr@10": 0.1}]

EVIL = '<img src=x onerror="window.pwned=1">'

# The WCAG's contrast of each text with what is behind it, where it is too small: 4.5, of large text 3.
LOW_CONTRAST = """(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const luminance = ({ r, g, b }) => { const [x, y, z] = [r, g, b].map((c) => { c /= 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest(".hidden, .skip, svg, option") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    let behind = element;
    while (behind && parse(getComputedStyle(behind).backgroundColor).a === 0) behind = behind.parentElement;
    const back = parse(getComputedStyle(behind || document.body).backgroundColor);
    const [a, b] = [luminance(parse(style.color)), luminance(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) low.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)} ${element.textContent.trim().slice(0, 30)}`);
  }
  return low;
})()"""

# What a screen reader would have no name or no structure for.
NAMELESS = """(() => {
  const bad = [];
  for (const e of document.querySelectorAll("input, select, textarea")) if (!e.labels.length) bad.push(`no label: ${e.id}`);
  for (const e of document.querySelectorAll("button, a, summary")) if (!(e.getAttribute("aria-label") || e.textContent).trim()) bad.push("no name");
  for (const e of document.querySelectorAll("table")) {
    if (!e.caption && !e.getAttribute("aria-labelledby")) bad.push("a table without a name");
    if (e.querySelector("th:not([scope])")) bad.push("a header cell without a scope");
  }
  for (const e of document.querySelectorAll("svg")) if (e.getAttribute("role") !== "img" || !e.getAttribute("aria-label")) bad.push("a picture without words");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) bad.push("an id twice");
  if (document.querySelectorAll("h1").length !== 1 || !document.documentElement.lang) bad.push("no title or language");
  return bad;
})()"""


class ConsoleTest(HttpCase):
    trained = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Version 2 knows more.
        with open(cls.made.dir / "events.csv", "a", encoding="utf-8") as file:
            file.writelines(f"u{n},i{(7 * n + m) % 40},view,{1_700_100_000 + m}\n" for n in range(60) for m in range(6))
        cls.made.train(measured=True)
        models = cls.made.dir / "models"
        # Version 3 is none: a copy that says it is another.
        shutil.copytree(models / "2", models / "3")
        cls.browser = cls.enterClassContext(browsers.Browser())

    def setUp(self):
        self.browser.open("about:blank")  # the page before asks for nothing more
        self.browser.errors.clear()
        self.browser.requests.clear()
        self.browser.look(1280)

    def open(self, page="/console"):
        self.origin = f"http://127.0.0.1:{self.port}"
        self.browser.open(self.origin + page)

    def check_page(self, name):
        """In either scheme, on a large and a small screen; and nothing went wrong so far."""
        self.assertEqual(self.browser.evaluate(NAMELESS), [])
        for dark in (False, True):
            for width in (1280, 390):
                self.browser.look(width, dark=dark)
                self.assertEqual(self.browser.evaluate(LOW_CONTRAST), [], f"dark: {dark}")
                self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"), width, name)
                if directory := os.environ.get("SWIFTLET_SCREENSHOTS"):
                    self.browser.screenshot(Path(directory, f"{name}-{width}-{'dark' if dark else 'light'}.png"))
        self.browser.look(1280)
        self.assertLessEqual(self.browser.evaluate("Math.max(...[...document.querySelectorAll('.tile > *')].map((e) => e.scrollWidth - e.clientWidth))"
                                                   if name == "watch" else "0"), 0, "a figure is cut off")
        self.assertEqual(self.browser.errors, [])
        self.assertEqual([url for url in self.browser.requests if not url.startswith(self.origin + "/")], [])

    def keep_calling(self):
        """Recommendations for many users, one after the other, until the test ends."""
        done = threading.Event()

        def work():
            connection = self.connect()
            for n in range(10**9):
                if done.is_set():
                    return
                body = json.dumps({"userId": f"u{n % 60}", "k": 5} if n % 10 else {"userId": "u1", "k": 0})
                try:
                    send(connection, "POST", "/v1/RecommendationService/Recommend", body, {"Content-Type": "application/json"})
                except (OSError, http.client.HTTPException):
                    return  # the server ended
                done.wait(0.01)
        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(done.set)

    def test_it_shows_what_is_going_on(self):
        self.start()
        self.keep_calling()
        self.open()
        page = self.browser
        page.wait_for("parseFloat(document.querySelector('#qps').textContent) > 5")
        page.wait_for("history.qps.length >= 4")
        self.assertRegex(page.text("#state"), r"^Snapshot \d serves 40 items$")
        self.assertRegex(page.text("#latency"), r"^[\d.]+ (µs|ms) / [\d.]+ (µs|ms)$")
        self.assertRegex(page.text("#hits"), r"^[\d.]+ %$")
        self.assertGreater(float(page.text("#failed")), 0)
        self.assertRegex(page.text("#cache-note"), r"^\d+ users, [\d.]+ kB$")
        self.assertRegex(page.text("#facts"), r"^Snapshot \d was made .* ago and loaded .* ago\. [\d.]+ MB of memory, up for ")
        self.assertRegex(page.evaluate("document.querySelector('#plot-qps').getAttribute('aria-label')"),
                         r"^Calls a second: now [\d.]+, at most [\d.]+ in the last ")
        for plot, lines in (("qps", 1), ("latency", 2), ("hits", 1), ("failed", 1)):
            drawn = page.evaluate(f"[...document.querySelectorAll('#plot-{plot} .line')].map((e) => e.getTotalLength())")
            self.assertEqual(len(drawn), lines, plot)
        rows = page.evaluate("[...document.querySelectorAll('#snapshots tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))")
        self.assertEqual([row[0] for row in rows], ["3", "2", "1"])
        self.assertEqual([row[3] for row in rows][1:], ["40", "40"])
        self.assertRegex(rows[1][5], r"^ndcg@10 [\d.]+, recall@10 [\d.]+$")  # not popularity.ndcg@10
        self.assertEqual(rows[2][5], "–")
        self.check_page("watch")
        # The server ends: the page says so.
        self.made.stop()
        page.wait_for("document.querySelector('#state').textContent === 'The server cannot be reached.'")

    def test_the_same_metrics_are_shown_in_whatever_order_they_come(self):
        self.start()
        self.open()
        draw = random.Random(1)

        def shown(*snapshots):
            return self.browser.evaluate(f"metricsToShow({json.dumps([{'metrics': metrics} for metrics in snapshots])})")

        def shuffled(metrics):
            return dict(draw.sample(list(metrics.items()), len(metrics)))
        for _ in range(20):
            self.assertEqual(shown(*map(shuffled, MEASURED)), ["ndcg@10", "recall@10"])
        self.assertEqual(shown(), [])
        self.assertEqual(shown({"popularity.ndcg@10": 0.1}, {}), [])
        self.assertEqual(shown({"rmse": 0.9, "popularity.ndcg@10": 0.1, "hr@10": 0.2}), ["hr@10", "rmse"])
        self.assertEqual(shown({"mae": 0.7, "rmse": 0.9, "coverage@10": 0.1}), ["coverage@10", "mae"])
        self.assertEqual(shown({"ndcg@5": 0.1, "ndcg@10": 0.2}, {"ndcg@10": 0.2}), ["ndcg@10"])
        self.assertEqual(shown({"ndcg@10": 0.2, "ndcg@5": 0.1}), ["ndcg@5"])

    def test_it_shows_recommendations_and_their_causes(self):
        self.start()
        events = [{"userId": "u10", "itemId": f"i{n}", "type": kind} for n, kind in ((4, "view"), (8, "like"), (12, "purchase"), (13, "dislike"))]
        self.assertEqual(self.call("EventService/RecordEvents", {"events": events}).status, 200)
        self.open()
        page = self.browser
        page.type("#user", "u10")
        page.press("Enter", 13, "\r")
        page.wait_for("document.querySelectorAll('#items > li').length === 10")
        answer = self.call("RecommendationService/Recommend", {"userId": "u10", "k": 10, "explain": True, "includeMetadata": True}).json
        self.assertEqual(page.texts("#items .title"), [item["metadata"]["title"] for item in answer["items"]])
        self.assertEqual(page.evaluate("document.querySelectorAll('#items .cause').length"),
                         sum(len(item["explanation"]) for item in answer["items"]))
        term = max(answer["items"][0]["explanation"], key=lambda term: abs(term["score"]))
        cause = page.evaluate("document.querySelector('#items .cause').innerText")
        self.assertAlmostEqual(float(cause.split()[-1]), term["score"], delta=0.01 * abs(term["score"]))
        if term["kind"] == "KIND_EVENT":
            self.assertIn(term["itemTitle"], cause)
        # Bars are as long as the terms are large.
        widths = page.evaluate("[...document.querySelectorAll('#items > li:first-child .cause')].map((e) => [e.querySelector('.bar span').getBoundingClientRect().width, Number(e.querySelector('.amount').textContent)])")
        shown = [(width, amount) for width, amount in widths if width > 5]
        for width, amount in shown:
            self.assertAlmostEqual(width / shown[0][0], abs(amount / shown[0][1]), delta=0.05)
        self.check_page("recommend")
        page.type("#user", "")
        page.click("#recommend button")
        self.assertTrue(page.evaluate("document.querySelector('#user').matches(':invalid')"))
        page.type("#user", "x" * 300)
        page.click("#recommend button")
        page.wait_for("!document.querySelector('#recommend-error').hidden")
        self.assertIn("is not 1 to 256 bytes", page.text("#recommend-error"))
        self.assertEqual(page.texts("#items > li"), [])

    def test_ids_and_titles_may_hold_anything(self):
        self.start()
        upsert = {"items": [{"itemId": EVIL, "vector": [3] * 8}, {"itemId": "evil title", "metadata": {
            "title": "</span><script>window.pwned=2</script>", "categories": [EVIL]}, "vector": [2.9] * 8}]}
        self.assertEqual(self.call("CatalogService/UpsertItems", upsert).status, 200)
        user = "<script>window.pwned=3</script>"
        events = [{"userId": user, "itemId": EVIL, "type": "like"}, {"userId": user, "itemId": "i4", "type": "like"},
                  {"userId": user, "itemId": "i6", "type": "like"}]
        self.assertEqual(self.call("EventService/RecordEvents", {"events": events}).status, 200)
        self.open()
        page = self.browser
        page.type("#k", "42")
        page.type("#user", user)
        page.press("Enter", 13, "\r")
        page.wait_for("document.querySelectorAll('#items > li').length > 20")
        self.assertIn("</span><script>window.pwned=2</script>", page.texts("#items .title"))
        self.assertIn(EVIL, page.evaluate("document.querySelector('#items').textContent"))  # as a cause
        self.assertIn(user, page.text("#answer-note"))
        self.assertEqual(self.call("UserService/DeleteUser", {"userId": user}).status, 200)
        page.type("#user", "u1")
        page.press("Enter", 13, "\r")
        page.wait_for("document.querySelector('#answer-note').textContent.includes('u1.')")
        self.assertIn(EVIL, page.texts("#items .title"))
        self.assertEqual(page.evaluate("[typeof window.pwned, document.images.length, document.scripts.length]"), ["undefined", 0, 1])
        self.assertEqual(self.browser.errors, [])
        self.assertEqual(self.call("CatalogService/DeleteItems", {"itemIds": [EVIL, "evil title"]}).status, 200)

    def test_snapshots_are_loaded_and_compared(self):
        self.start()
        self.call("AdminService/LoadSnapshot", {"version": 2})
        self.open()
        page = self.browser
        page.type("#user", "u7")
        page.press("Enter", 13, "\r")
        page.wait_for("document.querySelectorAll('#items > li').length === 10")
        ask = {"userId": "u7", "k": 10, "includeMetadata": True}
        old = [item["metadata"]["title"] for item in self.call("RecommendationService/Recommend", ask).json["items"]]
        # The other ones are looked at before they serve. Version 3 is none.
        page.wait_for("[...document.querySelector('#other').options].map((o) => o.value).join() === ',3,1'")
        choose = "document.querySelector('#other').value = '{}'; document.querySelector('#other').dispatchEvent(new Event('change'))"
        page.evaluate(choose.format(3))
        page.wait_for("!document.querySelector('#compare-error').hidden")
        self.assertIn("snapshot 3 cannot be loaded: ", page.text("#compare-error"))
        page.evaluate(choose.format(1))
        page.wait_for("!document.querySelector('#comparison').hidden")
        self.assertTrue(page.evaluate("document.querySelector('#compare-error').hidden"))
        self.assertEqual(self.call("AdminService/GetStatus").json["serving"]["version"], "2")
        previewed = page.evaluate("[...document.querySelectorAll('#comparison tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))")
        self.assertEqual([page.text("#old-version"), page.text("#new-version")], ["Snapshot 2", "Snapshot 1"])
        self.check_page("preview")
        # Who thinks better of it loads nothing.
        roll_back = "#snapshots button[data-version='1']"
        page.wait_for(f"document.querySelector(\"{roll_back}\")")
        page.click(roll_back)
        self.assertTrue(page.evaluate("document.querySelector('#confirm').open"))
        self.assertIn("It replaces snapshot 2 for all callers.", page.text("#confirm-text"))
        self.assertEqual(page.evaluate("document.activeElement.id"), "confirm-no")
        page.press("Escape", 27)
        page.wait_for("!document.querySelector('#confirm').open")
        self.assertEqual(self.call("AdminService/GetStatus").json["serving"]["version"], "2")
        page.click(roll_back)
        page.click("#confirm-yes")
        page.wait_for("document.querySelector('#snapshot-done').textContent.startsWith('Snapshot 1 serves, after ')")
        self.assertEqual(self.call("AdminService/GetStatus").json["serving"]["version"], "1")
        # The list is asked for again. It is what had been shown of version 1 before.
        page.wait_for("document.querySelector('#answer-note').textContent.includes('by snapshot 1,')")
        new = [item["metadata"]["title"] for item in self.call("RecommendationService/Recommend", ask).json["items"]]
        self.assertEqual(page.texts("#items .title"), new)
        rows = previewed
        self.assertEqual([row[1].split(" (")[0] for row in rows], old)
        self.assertEqual([row[2] for row in rows], new)
        for rank, row in enumerate(rows):
            if row[2] not in old:
                self.assertEqual(row[3], "new")
            else:
                moved = old.index(row[2]) - rank
                self.assertEqual(row[3], "same" if moved == 0 else f"▲ up {moved}" if moved > 0 else f"▼ down {-moved}")
        self.assertGreaterEqual(len({row[3].split()[0] for row in rows}), 2, "the lists are hardly different")
        page.wait_for("document.querySelector('#snapshots').innerText.includes('pinned')")
        self.check_page("compare")
        # A broken one is refused, and the page says why.
        page.click("#snapshots button[data-version='3']")
        page.click("#confirm-yes")
        page.wait_for("!document.querySelector('#snapshot-error').hidden")
        self.assertIn("snapshot 3 was refused: models/3/manifest.json: version: expected 3", page.text("#snapshot-error"))
        page.wait_for("document.querySelector('#snapshots .tag.failed')")
        self.check_page("refused")
        page.click("#follow")
        page.click("#confirm-yes")
        page.wait_for("document.querySelector('#snapshot-done').textContent.startsWith('Snapshot 2 serves')")
        page.wait_for("document.querySelector('#follow').hidden")

    def test_it_is_used_with_the_keyboard_alone(self):
        self.start()
        self.open()
        page = self.browser
        page.wait_for("document.querySelector('#snapshots button')")
        page.evaluate("document.activeElement.blur()")
        reached = []
        for _ in range(12):
            page.press("Tab", 9)
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.version || document.activeElement.textContent"))
        self.assertEqual(reached[0], "Skip to the content")
        for expected in ("1", "user", "k", "Recommend"):
            self.assertIn(expected, reached)
        outline = page.evaluate("(() => { const e = document.querySelector('#user'); e.focus(); return getComputedStyle(e).outlineStyle; })()")
        self.assertEqual(outline, "solid")

    def test_tokens_stay_in_the_tab(self):
        tokens = {role: self.token(role, role) for role in ("recommend", "admin")}
        self.start("--token-file", "tokens")
        self.open()
        page = self.browser
        page.wait_for("!document.querySelector('#access').hidden")
        self.assertEqual(page.text("#state"), "This server asks for a token")
        self.assertTrue(page.evaluate("document.querySelector('#docs').hidden"))

        def use(token):
            page.type("#token", token)
            page.press("Enter", 13, "\r")
        use("wrong")
        page.wait_for("!document.querySelector('#access-error').hidden")
        self.assertIn("is not known here", page.text("#access-error"))
        self.check_page("token")
        use(tokens["recommend"])
        page.wait_for("document.querySelector('#access-error').textContent.includes('needs one of the roles admin')")
        page.type("#user", "u3")
        page.press("Enter", 13, "\r")
        page.wait_for("document.querySelectorAll('#items > li').length === 10")
        use(tokens["admin"])
        page.wait_for("document.querySelector('#state').textContent.startsWith('Snapshot')")
        page.wait_for("document.querySelector('#snapshots button')")
        stored = page.evaluate("[JSON.stringify(sessionStorage), localStorage.length, document.cookie, document.querySelector('#token').value]")
        self.assertEqual(stored, [json.dumps({"swiftlet-token": tokens["admin"]}, separators=(",", ":")), 0, "", ""])
        self.assertFalse(any(tokens["admin"] in url for url in page.requests))
        page.click("#forget")
        page.wait_for("document.querySelector('#state').textContent === 'This server asks for a token'")
        self.assertEqual(page.evaluate("sessionStorage.length"), 0)

    def test_the_page_of_the_api(self):
        self.start()
        self.open("/docs")
        page = self.browser
        page.wait_for("document.querySelectorAll('#services details').length > 0")
        self.assertEqual(sorted(page.texts("#services h3")), sorted(path.split("/")[-1] for path in self.get("/openapi.json").json["paths"]))
        self.check_page("docs")
        page.evaluate("document.querySelector('#try-GetStatus').closest('details').open = true")
        page.click("#try-GetStatus + button")
        page.wait_for("document.querySelector('#try-GetStatus ~ pre').textContent.startsWith('200 OK')")
        self.assertIn('"serverVersion"', page.text("#try-GetStatus ~ pre"))
        page.evaluate("document.querySelector('#try-Recommend').closest('details').open = true")
        page.type("#try-Recommend", '{"userId": "u", "k": 0}')
        page.click("#try-Recommend + button")
        page.wait_for("document.querySelector('#try-Recommend ~ pre').textContent.startsWith('400 ')")
        self.check_page("docs-open")


if __name__ == "__main__":
    if reason := browsers.missing():
        print(f"skipped: {reason}")
        sys.exit(77)
    os.chdir(Path(__file__).parent)
    unittest.main(verbosity=2)
