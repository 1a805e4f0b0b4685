#!/usr/bin/env python3
"""FAISS, usearch and ScaNN over vectors that retrieval_bench exported, one thread, the same queries.

  python3 -m venv venv && venv/bin/pip install numpy faiss-cpu usearch scann
  build/release/bin/retrieval_bench --items 1000000 --sigma 0.35 --queries 500 --export exported ...
  venv/bin/python tests/bench/peers.py exported --name 1m-s35 --json results/1m-s35.peers.jsonl

Optional: none of these is in Debian with SIMD. A package that is missing is left out, and said so. QPS is the better of asking
one query at a time and asking for all at once (some libraries batch their work), by the process's CPU time; p50 and p99 are of one at a time, and include
what calling from Python costs, some microseconds.
"""
import argparse
import hashlib
import json
import os
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (after the variables)

ENOUGH_RECALL, LONG_SECONDS, SLOWEST_SECONDS = 0.9985, 3.0, 20.0


class Run:
    def __init__(self, args):
        self.items = np.load(os.path.join(args.exported, "items.npy"))
        self.queries = np.load(os.path.join(args.exported, "queries.npy"))
        self.truth = np.load(os.path.join(args.exported, f"truth-{args.k}.npy"))
        self.k, self.name, self.json, self.cache, self.only_build = args.k, args.name, args.json, args.cache, args.only_build

    def built_index(self, method, threads, make, load, save, size_of):
        """make() or, where --cache has the method's index of these vectors, load(path); says what it took to make it."""
        key = hashlib.sha256(self.items.tobytes()).hexdigest()[:16] if self.cache else ""
        path = os.path.join(self.cache, f"{method}-{key}".replace(" ", "_").replace(",", "-")) if self.cache else None
        if path and os.path.exists(path + ".json"):
            with open(path + ".json", encoding="utf-8") as facts:
                seconds, threads = json.load(facts)
            index = load(path)
        else:
            begin = time.time()
            index = make()
            seconds = time.time() - begin
            if path:
                os.makedirs(self.cache, exist_ok=True)
                save(index, path)
                with open(path + ".json", "w", encoding="utf-8") as facts:
                    json.dump([seconds, threads], facts)
        self.built(method, seconds, size_of(index), threads)
        return index

    def write(self, record):
        record = dict(record, workload=self.name, items=len(self.items), dim=self.items.shape[1], queries=len(self.queries),
                      bias=False, filter="none")
        if self.json:
            with open(self.json, "a", encoding="utf-8") as out:
                out.write(json.dumps(record) + "\n")

    def built(self, method, seconds, size_bytes, threads):
        print(f"{method}: built in {seconds:.1f} s by {threads} threads, {size_bytes / len(self.items):.1f} bytes an item", flush=True)
        self.write({"kind": "build", "method": method, "seconds": round(seconds, 2), "threads": threads,
                    "bytes_per_item": size_bytes / len(self.items)})

    def measure(self, method, parameter, search):
        """search(queries [n, dim]) -> rows [n, k]. Returns whether a more thorough setting is worth a try."""
        n = len(self.queries)
        begin = time.process_time()
        rows = np.asarray(search(self.queries))
        batch = time.process_time() - begin
        recall = sum(len(np.intersect1d(a, b[b >= 0])) for a, b in zip(rows, self.truth)) / (self.truth >= 0).sum()
        singles = []
        for _ in range(3):
            times = []
            for i in range(n):
                query = self.queries[i:i + 1]
                begin = time.process_time()
                search(query)
                times.append(time.process_time() - begin)
            singles.append(times)
            if sum(times) > LONG_SECONDS:
                break
        medians = np.median(np.array(singles), axis=0)
        qps = max(n / medians.sum(), n / batch)
        p50, p99 = 1e6 * np.percentile(medians, [50, 99])
        print(f"{method + ', ' + parameter:44} k {self.k:4}  {qps:9.0f} QPS  p50 {p50:8.1f} us  p99 {p99:8.1f} us  recall {recall:.4f}",
              flush=True)
        self.write({"kind": "method", "method": method, "parameter": parameter, "k": self.k, "qps": round(float(qps), 1),
                    "p50_us": round(float(p50), 2), "p99_us": round(float(p99), 2), "recall": round(float(recall), 5), "proven": 0,
                    "load": os.getloadavg()[0]})
        return recall < ENOUGH_RECALL and medians.sum() < SLOWEST_SECONDS


def run_faiss(run, threads, wanted="IVF"):
    import faiss
    n, dim = run.items.shape
    lists = int(2 ** round(np.log2(4 * np.sqrt(n))))
    sample = run.items[np.random.default_rng(1).permutation(n)[:64 * lists]]
    probes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    indexes = [
        (f"faiss IVF{lists},Flat", f"IVF{lists},Flat", probes, None),
        (f"faiss IVF{lists},SQ8", f"IVF{lists},SQ8", probes, None),
        (f"faiss IVF{lists},PQ{dim // 2}x4fs,RFlat", f"IVF{lists},PQ{dim // 2}x4fs,RFlat", probes, [4, 16]),
        ("faiss HNSW32", "HNSW32", [16, 32, 64, 128, 256, 512, 1024], None),
    ]
    for method, factory, values, refine in indexes:
        if not factory.startswith(wanted):
            continue
        faiss.omp_set_num_threads(threads)

        def make():
            made = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
            if "HNSW" in factory:
                made.hnsw.efConstruction = 100
            made.train(sample)
            made.add(run.items)
            return made
        index = run.built_index(method, threads, make, faiss.read_index, faiss.write_index,
                                lambda made: faiss.serialize_index(made).nbytes)
        faiss.omp_set_num_threads(1)
        if run.only_build:
            continue
        for factor in refine or [0]:
            for value in values:
                if "HNSW" in factory:
                    index.hnsw.efSearch, parameter = value, f"ef {value}"
                elif factor:
                    index.k_factor = factor
                    faiss.downcast_index(index.base_index).nprobe = value
                    parameter = f"nprobe {value}, refine {factor}"
                else:
                    index.nprobe, parameter = value, f"nprobe {value}"
                if not run.measure(method, parameter, lambda q: index.search(q, run.k)[1]):
                    break


def run_faiss_hnsw(run, threads):
    run_faiss(run, threads, "HNSW")


def run_usearch(run, threads):
    from usearch.index import Index
    # No i8: usearch keeps directions only then, which is no inner product.
    for kind in ("f32", "bf16"):
        method = f"usearch {kind} M 16 efC 128"

        def make():
            made = Index(ndim=run.items.shape[1], metric="ip", dtype=kind, connectivity=16, expansion_add=128)
            made.add(np.arange(len(run.items)), run.items, threads=threads)
            return made
        index = run.built_index(method, threads, make, Index.restore, lambda made, path: made.save(path),
                                lambda made: made.serialized_length)
        if run.only_build:
            continue
        for value in (16, 32, 64, 128, 256, 512, 1024):
            index.expansion_search = value

            def search(queries):
                keys = index.search(queries, run.k, threads=1).keys
                return np.asarray(keys).reshape(len(queries), -1).astype(np.int64)
            if not run.measure(method, f"ef {value}", search):
                break


def run_scann(run, threads):
    import scann
    n = len(run.items)
    leaves = int(2 * np.sqrt(n))
    # Plain, and SOAR (Sun et al. 2023): each item in a second leaf, too.
    for name, spilling in (("", {}), (" SOAR", {"soar_lambda": 1.5, "overretrieve_factor": 2.0})):
        method = f"ScaNN{name} {leaves} leaves, AH"

        def make():
            return (scann.scann_ops_pybind.builder(run.items, run.k, "dot_product")
                    .set_n_training_threads(threads)
                    .tree(num_leaves=leaves, num_leaves_to_search=leaves // 20, training_sample_size=min(n, 250000), **spilling)
                    .score_ah(2, anisotropic_quantization_threshold=0.2).reorder(10 * run.k).build())

        def save(made, path):
            os.makedirs(path, exist_ok=True)
            made.serialize(path)
        # Floats, half a byte for every two dims, and that again where an item is in two leaves.
        size = run.items.nbytes + run.items.nbytes // 16 * (2 if spilling else 1)
        searcher = run.built_index(method, threads, make, scann.scann_ops_pybind.load_searcher, save, lambda made: size)
        if run.only_build:
            continue
        for reorder in (10 * run.k, 30 * run.k, 100 * run.k):
            for share in (200, 100, 50, 30, 20, 10, 5, 3):
                value = max(1, leaves // share)

                def search(queries):
                    if len(queries) == 1:
                        rows, _ = searcher.search(queries[0], leaves_to_search=value, pre_reorder_num_neighbors=reorder)
                        return rows[None]
                    return searcher.search_batched(queries, leaves_to_search=value, pre_reorder_num_neighbors=reorder)[0]
                if not run.measure(method, f"{value} leaves, reorder {reorder}", search):
                    break


METHODS = {"scann": run_scann, "faiss-ivf": run_faiss, "faiss-hnsw": run_faiss_hnsw, "usearch": run_usearch}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", help="directory of retrieval_bench --export")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--name", default="", help="of the workload, in records")
    parser.add_argument("--json", default="", help="append records here")
    parser.add_argument("--threads", type=int, default=2, help="for building")
    parser.add_argument("--cache", default="", help="keep indexes here: building them takes minutes")
    parser.add_argument("--only-build", action="store_true", help="build and keep the indexes, measure nothing")
    parser.add_argument("--only", default="scann,faiss-ivf,faiss-hnsw,usearch")
    args = parser.parse_args()
    run = Run(args)
    for name in args.only.split(","):
        try:
            METHODS[name](run, args.threads)
        except ImportError as error:
            print(f"{name}: left out, not installed ({error})", file=sys.stderr)


if __name__ == "__main__":
    main()
