#!/usr/bin/env python3
"""Tables (Markdown) and a plot (SVG) from the JSON lines of retrieval_bench and peers.py. Standard library only.

  retrieval_report.py RESULTS_DIR [--markdown FILE] [--svg FILE]

A peer's figure is that of its fastest setting with recall of at least .95, or, where it has none (marked *), of the fastest with
about its best recall. Ratios are to the best peer of the same run.
"""
import argparse
import collections
import glob
import json
import math
import os
import re
import sys

EXACT, APPROXIMATE, SCALED, SCAN = ("bound index, exact", "bound index, approximate", "bound index, scaled",
                                    "full scan")
ORDER = ["1m-s35", "1m-s0", "100k-s35", "100k-s0", "gowalla", "gowalla-bias", "gowalla-1m", "1m-s35-d128", "1m-s0-d128",
         "100k-s35-d128", "1m-s35-bias", "100k-s35-bias", "10m-s35", "10m-s0", "10m-s35-d128"]
PANELS = [("1m-s35", "1 M items, norms log-normal, sigma .35"), ("1m-s0", "1 M items, equal norms"), ("gowalla", "Gowalla, 41 k items"),
          ("gowalla-1m", "Gowalla, grown to 1 M"), ("100k-s35", "100,000 items, norms log-normal, sigma .35"), ("100k-s0", "100,000 items, equal norms")]


def load(directory):
    """Records of all files, and (workload, k, filter) -> method records. The last of equal ones counts."""
    facts, groups = collections.defaultdict(dict), collections.defaultdict(dict)
    for path in sorted(glob.glob(os.path.join(directory, "*.jsonl"))):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                r = json.loads(line)
                if r["kind"] == "method":
                    key = (r["workload"], r["k"], r.get("filter", "none"))
                    groups[key][(r["method"], r["parameter"])] = r
                else:
                    facts[r["workload"]][(r["kind"], r.get("method", ""))] = r
    return facts, {key: list(of.values()) for key, of in groups.items()}


def is_peer(r):
    return not r["method"].startswith("bound index") and r["method"] != SCAN


def best_peer(records, recall):
    """The fastest peer setting with at least this recall; without one, the fastest of about the best recall (within .005, so
    that a plateau does not count against it); None without peers."""
    peers = [r for r in records if is_peer(r)]
    good = [r for r in peers if r["recall"] >= recall]
    if good:
        return max(good, key=lambda r: r["qps"])
    best = max((r["recall"] for r in peers), default=0)
    return max((r for r in peers if r["recall"] >= best - 0.005), key=lambda r: r["qps"], default=None)


def find(records, method):
    return next((r for r in records if r["method"] == method), None)


def number(x):
    if x >= 100:
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def recall_text(x):
    return "1" if x >= 0.999995 else f"{x:.4f}".lstrip("0")


def figures(r, with_recall=True):
    if r is None:
        return "-"
    text = f"{number(r['qps'])} QPS, {number(r['p50_us'])} / {number(r['p99_us'])} us"
    return text + (f", {recall_text(r['recall'])}" if with_recall else "")


def setting(r):
    return f"{r['method']} {r['parameter']}".replace("hnswlib M ", "M ").replace(" efC ", "/").replace("scale ", "")


def ratio(ours, peer):
    if ours is None or peer is None:
        return "-"
    note = "" if peer["recall"] >= 0.95 else "*"
    return f"{ours['qps'] / peer['qps']:.2f}{note}"


def rank(key):
    workload, k, _ = key
    return (ORDER.index(workload) if workload in ORDER else len(ORDER), workload, k)


def allowed_text(r):
    name = r.get("filter", "none")
    return f"{name}, {100 * r.get('allowed', 1):.3g} % allowed" if name != "none" else "none"


def tables(facts, groups):
    out = []
    head = ("full scan p50 us | best peer at recall .95: QPS, p50 / p99, recall (setting) | index, exact, proven: QPS, p50 / p99 "
            "| x peer | approximate: QPS, p50 / p99, recall | x peer |")
    lines = ["| workload | k | " + head, "| --- | --- | --- | --- | --- | --- | --- | --- |"]

    def row(records):
        scan, exact, approximate = (find(records, m) for m in (SCAN, EXACT, APPROXIMATE))
        peer = best_peer(records, 0.95)
        peer_text = "-" if peer is None else f"{figures(peer)} ({setting(peer)})"
        return (f"{number(scan['p50_us']) if scan else '-'} | {peer_text} | {figures(exact, False)} | {ratio(exact, peer)} | "
                f"{figures(approximate)} | {ratio(approximate, peer)} |")

    plain = sorted((key for key in groups if not key[0].endswith("-filters")), key=rank)
    for workload, k, filter_name in plain:
        if filter_name == "none":
            lines.append(f"| {workload} | {k} | " + row(groups[(workload, k, filter_name)]))
    out.append("### Workloads\n\n" + "\n".join(lines))

    lines = ["| workload | filter, rows allowed | " + head, "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    filtered = [key for key in groups if key[0].endswith("-filters")]
    for key in sorted(filtered, key=lambda key: (key[0], -groups[key][0].get("allowed", 1))):
        lines.append(f"| {key[0][:-len('-filters')]} | {allowed_text(groups[key][0])} | " + row(groups[key]))
    if filtered:
        out.append("### Filters, k 10\n\n" + "\n".join(lines))

    lines = ["| workload | norms, nearest / 100th cosine | index: bytes an item beside the vectors' | build s "
             "| calibrated scale, s | peers: bytes an item, vectors included, build s | peak MB |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for workload in sorted(facts, key=lambda w: rank((w, 0, ""))):
        of = facts[workload]
        about, index, calibration = of.get(("workload", "")), of.get(("build", "bound index")), of.get(("calibration", ""))
        if about is None or index is None:
            continue
        peers = ["%s: %.0f, %.0f" % (setting({"method": m, "parameter": ""}).strip(), r["bytes_per_item"], r["seconds"])
                 for (kind, m), r in of.items() if kind == "build" and m != "bound index"]
        peak = max(r.get("peak_mb", 0) for r in of.values())
        lines.append(f"| {workload} | {about['log_norm_deviation']:.3f}, {about['nearest_cosine']:.3f} / "
                     f"{about['hundredth_cosine']:.3f} | {index['bytes_per_item']:.1f} beside {index['vector_bytes_per_item']} | "
                     f"{index['seconds']:.1f} | "
                     + (f"{calibration['box']:g}:{calibration['code']:g}, {calibration['seconds']:.1f}" if calibration else "-")
                     + f" | {'; '.join(peers) or '-'} | {peak:,.0f} |")
    out.append("### Vectors, builds\n\n" + "\n".join(lines))

    lines = ["| workload | k | at recall >= .95 | at recall >= .99 | best recall |", "| --- | --- | --- | --- | --- |"]
    for key in plain:
        peers = [r for r in groups[key] if is_peer(r)]
        if not peers or key[2] != "none":
            continue
        cells = []
        for least in (0.95, 0.99):
            r = best_peer(peers, least)
            cells.append(f"{figures(r)} ({setting(r)})" if r["recall"] >= least else "not reached")
        r = max(peers, key=lambda r: (r["recall"], r["qps"]))
        lines.append(f"| {key[0]} | {key[1]} | {cells[0]} | {cells[1]} | {figures(r)} ({setting(r)}) |")
    out.append("### Peers\n\n" + "\n".join(lines))
    loads = [r["load"] for records in groups.values() for r in records if "load" in r]
    if loads:
        out.append(f"Load average while measuring: median {sorted(loads)[len(loads) // 2]:.1f}, most {max(loads):.1f}, on "
                   f"{os.cpu_count()} cores.")
    return "\n\n".join(out) + "\n"


# ---- the plot ----
FAMILIES = [("hnswlib", "#377eb8"), ("ScaNN", "#1b9e77"), ("faiss IVF Flat", "#e6ab02"), ("faiss IVF SQ8", "#a6761d"),
            ("faiss IVF PQ", "#666666"), ("faiss HNSW", "#984ea3"), ("usearch", "#66c2e0")]
OURS, LEAST, MOST = "#d95f02", 0.5, 0.9999
TICKS = [0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0]


def x_of(recall):
    """0 to 1: recalls are spread by how much they miss, as on a log scale, and 1 stands at the right edge."""
    low, high = -math.log10(1 - LEAST), -math.log10(1 - MOST)
    return (min(high, -math.log10(max(1 - recall, 1 - MOST))) - low) / (high - low)


def family(method):
    """A method without its build parameters: faiss IVF4096,PQ32x4fs,RFlat -> faiss IVF PQ."""
    name = re.sub(r"IVF\d+,", "IVF ", method)
    return next((f for f, _ in FAMILIES if name.startswith(f)), method)


def front(points):
    """Those that no other one beats in both recall and QPS, by recall."""
    best, kept = -1, []
    for r in sorted(points, key=lambda r: (-r["recall"], -r["qps"])):
        if r["qps"] > best:
            best = r["qps"]
            kept.append(r)
    return kept[::-1]


def panel(records, title, left, top, width, height):
    """SVG of one workload, k 10, or nothing."""
    shown = [r for r in records if r["recall"] >= LEAST]
    if not shown:
        return []
    low = math.floor(math.log10(min(r["qps"] for r in shown)))
    high = math.ceil(math.log10(max(r["qps"] for r in shown)))
    high = max(high, low + 1)

    def place(r):
        y = (math.log10(r["qps"]) - low) / (high - low)
        return f"{left + x_of(r['recall']) * width:.1f},{top + (1 - y) * height:.1f}"

    out = [f'<text x="{left}" y="{top - 8}" class="t">{title}</text>',
           f'<rect x="{left}" y="{top}" width="{width}" height="{height}" class="f"/>']
    for tick in TICKS:
        x = left + x_of(tick) * width
        out.append(f'<path d="M{x:.1f} {top}v{height}" class="g"/>'
                   f'<text x="{x:.1f}" y="{top + height + 13}" class="m">{tick:g}</text>')
    for power in range(low, high + 1):
        y = top + (1 - (power - low) / (high - low)) * height
        name = f"{10 ** power // 10 ** 6}M" if power >= 6 else f"{10 ** power // 1000}k" if power >= 3 else str(10 ** power)
        out.append(f'<path d="M{left} {y:.1f}h{width}" class="g"/><text x="{left - 4}" y="{y + 3:.1f}" class="e">{name}</text>')

    def curve(points, colour):
        points = front(points)
        line = " ".join(place(r) for r in points)
        out.append(f'<polyline points="{line}" stroke="{colour}" class="l"/>')
        for r in points:
            x, y = place(r).split(",")
            out.append(f'<circle cx="{x}" cy="{y}" r="2" fill="{colour}"/>')

    peers = collections.defaultdict(list)
    for r in shown:
        if is_peer(r):
            peers[family(r["method"])].append(r)
    for name, points in peers.items():
        curve(points, dict(FAMILIES).get(name, "#f781bf"))
    curve([r for r in shown if r["method"].startswith("bound index")], OURS)
    for method, mark in ((EXACT, 4.5), (APPROXIMATE, 4.5)):
        r = find(shown, method)
        if r is not None:
            x, y = place(r).split(",")
            fill = OURS if method == EXACT else "white"
            out.append(f'<circle cx="{x}" cy="{y}" r="{mark}" fill="{fill}" stroke="{OURS}" stroke-width="1.5"/>')
    r = find(shown, SCAN)
    if r is not None:
        x, y = place(r).split(",")
        out.append(f'<path d="M{x} {y}m-4 -4l8 8m0 -8l-8 8" stroke="black" class="l"/>')
    return out


def svg(groups):
    width, height, margin, gap = 330, 200, 50, 62
    panels = [(name, title) for name, title in PANELS if (name, 10, "none") in groups]
    if not panels:
        return None
    body = []
    for i, (name, title) in enumerate(panels):
        left, top = margin + (i % 2) * (width + gap), 46 + (i // 2) * (height + 58)
        body += panel(groups[(name, 10, "none")], title, left, top, width, height)
    bottom = 46 + (len(panels) + 1) // 2 * (height + 58)
    total_width = margin + min(2, len(panels)) * (width + gap) - gap + 20
    shown = {family(r["method"]) for name, _ in panels for r in groups[(name, 10, "none")] if is_peer(r)}
    legend = ([("Swiftlet's index (dot: exact, ring: approximate)", OURS)] + [f for f in FAMILIES if f[0] in shown]
              + [("x: full scan", "black")])
    x, y = margin, bottom - 8
    for name, colour in legend:
        if x + 20 + 6 * len(name) > total_width:
            x, y = margin, y + 16
        body.append(f'<path d="M{x} {y - 4}h14" stroke="{colour}" class="l"/><text x="{x + 18}" y="{y}">{name}</text>')
        x += 34 + 6 * len(name)
    style = ("text{font:11px sans-serif;fill:#333}.t{font-weight:bold}.m{text-anchor:middle;font-size:9px}"
             ".e{text-anchor:end;font-size:9px}.f{fill:white;stroke:#999}.g{stroke:#e4e4e4;fill:none}.l{fill:none;stroke-width:1.6}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {y + 14}" width="{total_width}" '
            f'height="{y + 14}"><style>{style}</style><rect width="100%" height="100%" fill="white"/>'
            f'<text x="{margin}" y="14">Queries a second of one thread over recall@10, dim 64; of each method the settings that no other of it beats</text>' + "\n".join(body) + "</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--markdown", help="file; default: standard output")
    parser.add_argument("--svg")
    args = parser.parse_args()
    facts, groups = load(args.results)
    if not groups:
        sys.exit(f"retrieval_report.py: no results (*.jsonl) in {args.results}")
    text = tables(facts, groups)
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as out:
            out.write(text)
    else:
        sys.stdout.write(text)
    picture = svg(groups)
    if args.svg and picture:
        with open(args.svg, "w", encoding="utf-8") as out:
            out.write(picture)


if __name__ == "__main__":
    main()
