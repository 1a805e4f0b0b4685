// The console: watches the server by /metrics, and calls the API as any other client. What comes from the server is only
// ever put in as text.
"use strict";

const POLL_MS = 2000;
const SNAPSHOTS_MS = 5000;
const POINTS = 150; // five minutes
const FEWEST = 30; // points that a plot has room for
const LOAD_MS = 120000; // what reading a snapshot may take

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svgElement(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function showError(id, error) {
  byId(id).textContent = error ? error.message : "";
  byId(id).hidden = !error;
}

// --- calls ---

const TOKEN = "swiftlet-token";
const token = () => sessionStorage.getItem(TOKEN) || "";

class CallError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch {
    throw new CallError(0, "The server cannot be reached.");
  }
  const text = await response.text();
  if (response.ok) return text;
  let message = `${response.status} ${response.statusText}`;
  try {
    const { error } = JSON.parse(text);
    message = `${error.message} (${error.status})`;
  } catch {
    // Not from this server: the status says what there is to say.
  }
  throw new CallError(response.status, message);
}

async function call(method, message, { timeoutMs = 0, signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (timeoutMs) headers["X-Timeout-Ms"] = String(timeoutMs);
  return JSON.parse(await request(`/v1/${method}`, { method: "POST", headers, body: JSON.stringify(message), signal }));
}

// --- numbers for people ---

function rounded(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10000) return Math.round(value).toLocaleString("en");
  return Number(value.toPrecision(size >= 1000 ? 4 : digits)).toString();
}

function seconds(value) {
  if (value < 0.001) return `${rounded(value * 1e6)} µs`;
  return value < 1 ? `${rounded(value * 1e3)} ms` : `${rounded(value)} s`;
}

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; ++unit) value /= 1000;
  return `${rounded(value)} ${units[unit]}`;
}

function age(ms) {
  const units = [["day", 86400e3], ["hour", 3600e3], ["minute", 60e3], ["second", 1e3]];
  for (const [name, length] of units) {
    const count = Math.floor(ms / length);
    if (count >= 1 || name === "second") return `${Math.max(count, 0)} ${name}${count === 1 ? "" : "s"}`;
  }
  return "";
}

// --- the page of /metrics ---

// name -> [{labels, value}]
function parseMetrics(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, key, value] of (match[2] || "").matchAll(/([a-z_]+)="([^"]*)"/g)) labels[key] = value;
    if (!metrics.has(match[1])) metrics.set(match[1], []);
    metrics.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return metrics;
}

function sum(metrics, name, accept = () => true) {
  let total = 0;
  for (const { labels, value } of metrics.get(name) || []) if (accept(labels)) total += value;
  return total;
}

// The q-quantile of what a histogram took in between two pages; null when that was nothing.
function quantile(before, now, name, accept, q) {
  const counts = new Map();
  for (const [metrics, sign] of [[now, 1], [before, -1]]) {
    for (const { labels, value } of metrics.get(`${name}_bucket`) || []) {
      if (!accept(labels)) continue;
      const edge = labels.le === "+Inf" ? Infinity : Number(labels.le);
      counts.set(edge, (counts.get(edge) || 0) + sign * value);
    }
  }
  const edges = [...counts.keys()].sort((a, b) => a - b);
  const total = counts.get(Infinity) || 0;
  if (total <= 0) return null;
  let lower = 0;
  let below = 0;
  for (const edge of edges) {
    const count = counts.get(edge);
    if (count >= q * total) {
      if (edge === Infinity) return lower;
      return lower + (edge - lower) * (count === below ? 1 : (q * total - below) / (count - below));
    }
    lower = edge;
    below = count;
  }
  return lower;
}

// --- plots ---

// series: arrays of numbers or null (nothing to show), newest last, of POINTS at most and of the same length.
function plot(id, name, series, format, most = 0) {
  const svg = byId(id);
  const width = svg.clientWidth || 240;
  const height = 72;
  const values = series.flat().filter((value) => value !== null);
  const top = Math.max(most, ...values) || 1;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const y = (value) => height - 1 - (height - 16) * (value / top);
  const room = Math.max(FEWEST, series[0].length);
  const x = (index, length) => width - (length - 1 - index) * (width / (room - 1));
  for (const at of [y(0), y(top)]) svg.append(svgElement("line", { class: "base", x1: 0, x2: width, y1: at, y2: at }));
  if (values.length > 0) {
    const label = svgElement("text", { x: 0, y: 11 });
    label.textContent = format(top);
    svg.append(label);
  }
  series.forEach((points, index) => {
    let path = "";
    let drawing = false;
    let area = null;
    points.forEach((value, at) => {
      if (value === null) {
        drawing = false;
        return;
      }
      const px = x(at, points.length).toFixed(1);
      const isolated = (at === 0 || points[at - 1] === null) && (at + 1 === points.length || points[at + 1] === null);
      path += `${drawing ? "L" : "M"}${px} ${y(value).toFixed(1)}${isolated ? "h1.5" : ""}`;
      drawing = true;
      if (area === null) area = px;
    });
    if (!path) return;
    if (series.length === 1 && points.every((value) => value !== null)) {
      svg.append(svgElement("path", { class: "area", d: `${path}V${y(0)}H${area}Z` }));
    }
    svg.append(svgElement("path", { class: `line ${index === 0 ? "first" : "second"}`, d: path }));
  });
  if (values.length === 0) return svg.setAttribute("aria-label", `${name}: nothing yet`);
  const last = series.map((points) => points[points.length - 1]).map((value) => (value === null ? "nothing" : format(value)));
  svg.setAttribute("aria-label", `${name}: now ${last.join(" and ")}, at most ${format(Math.max(...values))} in the last ${age(series[0].length * POLL_MS)}`);
}

const history = { qps: [], p50: [], p99: [], hits: [], failed: [] };
function keep(series, value) {
  series.push(value);
  if (series.length > POINTS) series.shift();
}

function drawPlots() {
  plot("plot-qps", "Calls a second", [history.qps], rounded);
  plot("plot-latency", "Latency of Recommend, median and 99th percentile", [history.p50, history.p99], seconds);
  plot("plot-hits", "Cache hit rate", [history.hits], (value) => `${rounded(value)} %`, 100);
  plot("plot-failed", "Failed calls a second", [history.failed], rounded);
}

// --- watching ---

let before = null; // { metrics, at }
let pollTimer = 0;
let servingVersion = null;
let listedAt = 0;

function setState(text, kind) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = `state ${kind}`;
}

const isAdmin = (labels) => ["GetStatus", "ListSnapshots"].includes(labels.method); // what this page itself asks

function showMetrics(metrics, at) {
  const version = sum(metrics, "swiftlet_snapshot_version");
  const now = Date.now();
  if (version > 0) {
    setState(`Snapshot ${version} serves ${rounded(sum(metrics, "swiftlet_snapshot_items"))} items`, "good");
  } else {
    setState("No snapshot is loaded", "bad");
  }
  const since = (name) => age(now - 1000 * sum(metrics, name));
  const facts = [];
  if (version > 0) {
    facts.push(`Snapshot ${version} was made ${since("swiftlet_snapshot_created_timestamp_seconds")} ago and loaded ${since("swiftlet_snapshot_loaded_timestamp_seconds")} ago.`);
  }
  facts.push(`${bytes(sum(metrics, "process_resident_memory_bytes"))} of memory, up for ${since("process_start_time_seconds")}.`);
  byId("facts").textContent = facts.join(" ");
  byId("cache-note").textContent = `${rounded(sum(metrics, "swiftlet_user_cache_entries"))} users, ${bytes(sum(metrics, "swiftlet_user_cache_bytes"))}`;

  const total = (page, accept) => sum(page, "swiftlet_requests_total", (labels) => !isAdmin(labels) && accept(labels));
  const restarted = before && total(metrics, () => true) < total(before.metrics, () => true);
  if (before && !restarted) {
    const took = (at - before.at) / 1000;
    const rate = (accept) => (total(metrics, accept) - total(before.metrics, accept)) / took;
    const recommend = (labels) => labels.method === "Recommend";
    keep(history.qps, rate(() => true));
    keep(history.failed, rate((labels) => labels.code !== "OK"));
    keep(history.p50, quantile(before.metrics, metrics, "swiftlet_request_seconds", recommend, 0.5));
    keep(history.p99, quantile(before.metrics, metrics, "swiftlet_request_seconds", recommend, 0.99));
    const hits = sum(metrics, "swiftlet_user_cache_hits_total") - sum(before.metrics, "swiftlet_user_cache_hits_total");
    const misses = sum(metrics, "swiftlet_user_cache_misses_total") - sum(before.metrics, "swiftlet_user_cache_misses_total");
    keep(history.hits, hits + misses > 0 ? (100 * hits) / (hits + misses) : null);
    const last = (series) => series[series.length - 1];
    byId("qps").textContent = rounded(last(history.qps));
    byId("qps-note").textContent = `${rounded(rate(recommend))} of them Recommend`;
    byId("failed").textContent = rounded(last(history.failed));
    const refused = sum(metrics, "swiftlet_refused_total") - sum(before.metrics, "swiftlet_refused_total");
    byId("failed-note").textContent = `${rounded(refused / took)} refused without work`;
    byId("latency").textContent = last(history.p50) === null ? "–" : `${seconds(last(history.p50))} / ${seconds(last(history.p99))}`;
    byId("hits").textContent = last(history.hits) === null ? "–" : `${rounded(last(history.hits))} %`;
    drawPlots();
  }
  before = { metrics, at };
  if (version !== servingVersion || at - listedAt > SNAPSHOTS_MS) {
    servingVersion = version;
    listedAt = at;
    listSnapshots();
  }
}

function noAccess(error) {
  byId("access").hidden = false;
  showError("access-error", token() ? error : null);
  setState(token() ? "The token does not allow to watch" : "This server asks for a token", "bad");
}

// One page at a time, and none while nobody looks.
async function poll() {
  clearTimeout(pollTimer);
  if (document.hidden) return;
  try {
    showMetrics(parseMetrics(await request("/metrics", {})), performance.now());
    showError("access-error", null);
  } catch (error) {
    before = null;
    if (error.status === 401 || error.status === 403) return noAccess(error); // asking again would be refused again
    setState(error.message, "bad");
  }
  pollTimer = setTimeout(poll, POLL_MS);
}

// --- snapshots ---

const stateName = (state) => state.replace("SNAPSHOT_STATE_", "").toLowerCase();

const METRICS = ["ndcg", "recall", "hr"]; // the first to be shown; then the others, by name
const METRICS_SHOWN = 2;

// The names of the metrics to show, whatever order a list has them in: one of a kind, those first that most of the snapshots have. Names with a
// dot are of other rankers, such as "popularity.ndcg@10".
function metricsToShow(snapshots) {
  const found = new Map();
  for (const { metrics } of snapshots) {
    for (const name of Object.keys(metrics)) {
      if (name.includes(".")) continue;
      const [kind, k] = name.split("@");
      const one = found.get(name) || { name, kind, k: Number(k) || 0, place: [...METRICS, kind].indexOf(kind), count: 0 };
      ++one.count;
      found.set(name, one);
    }
  }
  const sorted = [...found.values()].sort((a, b) => a.place - b.place
    || (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : b.count - a.count || a.k - b.k || (a.name < b.name ? -1 : 1)));
  return sorted.filter(({ kind }, at) => at === 0 || kind !== sorted[at - 1].kind).slice(0, METRICS_SHOWN).map(({ name }) => name);
}

async function listSnapshots() {
  let snapshots;
  try {
    ({ snapshots } = await call("AdminService/ListSnapshots", {}));
  } catch (error) {
    return showError("snapshot-error", error);
  }
  const focused = document.activeElement && document.activeElement.dataset.version;
  const serving = snapshots.find((snapshot) => stateName(snapshot.state) === "serving");
  versions = snapshots.filter((snapshot) => stateName(snapshot.state) !== "failed").map(({ version }) => version);
  offerComparison();
  byId("follow").hidden = !snapshots.some((snapshot) => snapshot.pinned);
  const shown = metricsToShow(snapshots);
  const rows = snapshots.map((snapshot) => {
    const { version } = snapshot;
    const state = stateName(snapshot.state);
    const tag = element("span", { class: `tag ${state}` }, state);
    const stateCell = element("td", {}, tag, snapshot.pinned ? " pinned" : "");
    if (snapshot.error) stateCell.append(element("div", { class: "failed" }, snapshot.error));
    const common = shown.filter((name) => name in snapshot.metrics);
    const measured = common.length > 0 ? common : metricsToShow([snapshot]);
    const action = element("td");
    if (state !== "serving" && state !== "loading" && state !== "warming") {
      const back = serving && Number(version) < Number(serving.version);
      const button = element("button", { type: "button", "data-version": version, "aria-label": `${back ? "Roll back to" : "Load"} snapshot ${version}` }, back ? "Roll back" : "Load");
      button.addEventListener("click", () => confirmLoad(version, serving, back));
      action.append(button);
    }
    return element("tr", {}, element("th", { scope: "row" }, version), stateCell,
      element("td", { class: "wide" }, snapshot.modelKind ? `${snapshot.modelKind}, ${snapshot.dim} dimensions` : "–"),
      element("td", { class: "number" }, Number(snapshot.numItems).toLocaleString("en")),
      element("td", { class: "wide" }, Number(snapshot.createdMs) ? `${age(Date.now() - Number(snapshot.createdMs))} ago` : "–"),
      element("td", { class: "wide" }, measured.map((name) => `${name} ${rounded(snapshot.metrics[name])}`).join(", ") || "–"), action);
  });
  if (rows.length === 0) rows.push(element("tr", {}, element("td", { colspan: "7", class: "quiet" }, "None has been published.")));
  byId("snapshots").tBodies[0].replaceChildren(...rows);
  if (focused) document.querySelector(`#snapshots button[data-version="${Number(focused)}"]`)?.focus();
}

let confirmed = null; // what the dialog is about

function ask(title, text, button, action) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = button;
  confirmed = action;
  byId("confirm").showModal();
  byId("confirm-no").focus();
}

function confirmLoad(version, serving, back) {
  ask(`${back ? "Roll back to" : "Load"} snapshot ${version}?`,
    `${serving ? `It replaces snapshot ${serving.version} for all callers. ` : ""}The server then stays with it, also after a restart and when newer snapshots are published, until you let it follow the newest again.`,
    `${back ? "Roll back to" : "Load"} snapshot ${version}`, () => load(version));
}

async function load(version) {
  showError("snapshot-error", null);
  byId("snapshot-done").textContent = "Loading…";
  for (const button of document.querySelectorAll("#snapshots button, #follow")) button.disabled = true;
  try {
    const answer = await call("AdminService/LoadSnapshot", { version }, { timeoutMs: LOAD_MS });
    byId("snapshot-done").textContent = `Snapshot ${answer.snapshot.version} serves, after ${seconds(answer.seconds)}.`;
    poll();
    if (shown) recommend(shown.user, shown.k);
  } catch (error) {
    byId("snapshot-done").textContent = "";
    showError("snapshot-error", error);
    if (error.status === 401 || error.status === 403) byId("access").hidden = false;
  }
  byId("follow").disabled = false;
  await listSnapshots();
}

// --- recommendations ---

let shown = null; // { user, k, version } of the list on the page

const titleOf = (item) => (item.metadata && item.metadata.title) || item.itemId;
const sources = {
  SOURCE_HISTORY: "from the user's events",
  SOURCE_LONG_TERM: "from the user's long-term vector",
  SOURCE_CONTEXT: "from the context",
  SOURCE_POPULAR: "popular",
};

function causeName(term) {
  switch (term.kind) {
    case "KIND_EVENT": {
      const when = Number(term.eventTimestampMs);
      const name = `${term.itemTitle || term.itemId} · ${term.eventType}`;
      return when ? `${name} · ${new Date(when).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" })}` : name;
    }
    case "KIND_CONTEXT":
      return `${term.itemTitle || term.itemId} · context`;
    case "KIND_LONG_TERM":
      return "Long-term vector of the user";
    case "KIND_ITEM_BIAS":
      return "The item itself (bias)";
    case "KIND_POPULARITY":
      return "Popularity";
    default:
      return "The user's history as a whole";
  }
}

// range: { low, high } of all terms on the page, with 0 in it, so that bars can be compared.
function causeRow(term, range) {
  const name = causeName(term);
  const bar = element("span");
  const width = range.high - range.low || 1;
  bar.style.left = `${(100 * (Math.min(term.score, 0) - range.low)) / width}%`;
  bar.style.width = `${Math.max((100 * Math.abs(term.score)) / width, 0.5)}%`;
  if (term.score < 0) bar.className = "against";
  return element("li", { class: "cause" }, element("span", { class: "what", title: name }, name),
    element("span", { class: "bar", "aria-hidden": "true" }, bar), element("span", { class: "amount" }, rounded(term.score)));
}

function showItems(answer) {
  const range = { low: 0, high: 0 };
  for (const item of answer.items) {
    for (const { score } of item.explanation) {
      range.low = Math.min(range.low, score);
      range.high = Math.max(range.high, score);
    }
  }
  byId("items").replaceChildren(...answer.items.map((item, index) => {
    const terms = [...item.explanation].sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
    const rows = terms.map((term) => causeRow(term, range));
    const why = element("div", { class: "why" }, element("ul", { class: "causes" }, ...rows.slice(0, 3)));
    why.firstChild.setAttribute("aria-label", `What made the score of ${titleOf(item)}`);
    if (rows.length > 3) {
      why.append(element("details", {}, element("summary", {}, `${rows.length - 3} more`), element("ul", { class: "causes" }, ...rows.slice(3))));
    }
    const about = element("div", { class: "item" }, element("div", { class: "title" }, titleOf(item)));
    const facts = [`score ${rounded(item.score)}`];
    if (titleOf(item) !== item.itemId) facts.unshift(item.itemId);
    if (item.metadata && item.metadata.categories.length) facts.push(item.metadata.categories.join(", "));
    if (sources[item.source] && item.source !== "SOURCE_HISTORY") facts.push(sources[item.source]);
    about.append(element("div", { class: "quiet" }, facts.join(" · ")));
    return element("li", {}, element("span", { class: "rank" }, String(index + 1)), about, why);
  }));
}

let asked = 0;
async function recommend(user, k) {
  const turn = ++asked;
  let answer;
  try {
    answer = await call("RecommendationService/Recommend", { userId: user, k, explain: true, includeMetadata: true });
  } catch (error) {
    if (turn !== asked) return;
    byId("answer-note").textContent = "";
    byId("items").replaceChildren();
    shown = null;
    offerComparison();
    if (error.status === 401 || error.status === 403) byId("access").hidden = false;
    return showError("recommend-error", error);
  }
  if (turn !== asked) return; // a later one was asked meanwhile
  showError("recommend-error", null);
  shown = { user, k, version: answer.snapshotVersion };
  byId("answer-note").textContent = `${answer.items.length} items by snapshot ${answer.snapshotVersion}, from ${answer.numHistoryEventsUsed} events of ${user}.`;
  showItems(answer);
  offerComparison();
  compare();
}

// --- another snapshot for the same user ---

let versions = []; // that can be compared, newest first
let comparing = new AbortController(); // of the calls that are made

// What there is to choose from, without a change where nothing has changed: the list may be open.
function offerComparison() {
  const others = shown ? versions.filter((version) => version !== shown.version) : [];
  byId("compare").hidden = others.length === 0;
  byId("compare-hint").hidden = !shown || others.length > 0;
  const select = byId("other");
  if (select.dataset.versions === others.join()) return;
  select.dataset.versions = others.join();
  const chosen = others.includes(select.value) ? select.value : "";
  select.replaceChildren(element("option", { value: "" }, "No other"), ...others.map((other) => element("option", { value: other }, `Snapshot ${other}`)));
  select.value = chosen;
  if (!chosen) compare();
}

// Asks for what the chosen snapshot would recommend, which loads it beside the one that serves.
async function compare() {
  comparing.abort(); // the server gives up what nobody waits for
  comparing = new AbortController();
  const { signal } = comparing;
  const list = shown;
  const version = byId("other").value;
  showError("compare-error", null);
  byId("comparison").hidden = true;
  byId("compare-note").textContent = "";
  if (!list || !version) return;
  byId("compare-note").textContent = `Snapshot ${version} is loaded beside the one that serves…`;
  const request = { userId: list.user, k: list.k, includeMetadata: true };
  let serving, preview;
  try {
    preview = await call("AdminService/PreviewSnapshot", { version, request }, { timeoutMs: LOAD_MS, signal });
    serving = await call("RecommendationService/Recommend", request, { signal }); // the list above may be of fewer events
  } catch (error) {
    if (signal.aborted) return;
    byId("compare-note").textContent = "";
    if (error.status === 401 || error.status === 403) byId("access").hidden = false;
    return showError("compare-error", error);
  }
  if (!signal.aborted) showComparison({ version: serving.snapshotVersion, items: serving.items }, { version, items: preview.response.items });
}

function showComparison({ version: oldVersion, items: oldItems }, { version: newVersion, items: newItems }) {
  const rankIn = (items) => new Map(items.map((item, index) => [item.itemId, index + 1]));
  const oldRanks = rankIn(oldItems);
  const newRanks = rankIn(newItems);
  byId("old-version").textContent = `Snapshot ${oldVersion}`;
  byId("new-version").textContent = `Snapshot ${newVersion}`;
  const both = newItems.filter((item) => oldRanks.has(item.itemId)).length;
  byId("compare-note").textContent = `${both} of ${newItems.length} items are in both lists.`;
  const rows = [];
  for (let index = 0; index < Math.max(oldItems.length, newItems.length); ++index) {
    const was = oldItems[index];
    const is = newItems[index];
    let text = "";
    let kind = "";
    if (is) {
      const rank = oldRanks.get(is.itemId);
      const moved = rank === undefined ? 0 : rank - (index + 1);
      if (rank === undefined) [text, kind] = ["new", "new"];
      else if (moved === 0) text = "same";
      else [text, kind] = moved > 0 ? [`▲ up ${moved}`, "up"] : [`▼ down ${-moved}`, "down"];
    }
    const wasCell = element("td", {}, was ? titleOf(was) : "–");
    if (was && !newRanks.has(was.itemId)) wasCell.append(element("span", { class: "gone" }, " (not in the other)"));
    rows.push(element("tr", {}, element("th", { scope: "row", class: "number" }, String(index + 1)), wasCell,
      element("td", {}, is ? titleOf(is) : "–"), element("td", { class: `change ${kind}` }, text)));
  }
  byId("comparison").tBodies[0].replaceChildren(...rows);
  byId("comparison").hidden = false;
}

// --- the page ---

byId("other").addEventListener("change", compare);
byId("recommend").addEventListener("submit", (event) => {
  event.preventDefault();
  recommend(byId("user").value, Number(byId("k").value));
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  for (const id of ["access-error", "snapshot-error", "recommend-error"]) showError(id, null);
  poll();
});
byId("forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  before = null;
  poll();
});
byId("follow").addEventListener("click", () => {
  ask("Follow the newest snapshot?", "The newest one is loaded, and every later one as soon as it is published.", "Follow the newest", () => load("0"));
});
byId("confirm-no").addEventListener("click", () => byId("confirm").close());
byId("confirm-yes").addEventListener("click", () => {
  byId("confirm").close();
  confirmed();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  before = null; // the time between is not this moment
  poll();
});
// Where there are tokens the page of the API may be off.
fetch("/docs", { method: "HEAD" }).then(({ ok }) => {
  byId("docs").hidden = !ok;
}).catch(() => {});
window.addEventListener("resize", drawPlots);
byId("access").hidden = !token();
drawPlots();
poll();
