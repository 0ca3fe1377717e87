#!/usr/bin/env python3
"""A million embeddings searched by `clip-wgpu search --repl`, numpy, FAISS's flat index and usearch's exact search, in one run: whether
the best ten are the same, the time of a query, and the memory.

    python scripts/reference/full_size.py target/full/ViT-B-32-hf --model ViT-B-32 --layout hf
    python examples/peers/search.py target/full/ViT-B-32-hf --rows 1000000

The embeddings are seeded noise. Ours is timed with the encoding of the words in it, and beside that the encoding alone.
"""

import argparse
import datetime
import json
import os
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

THREADS = os.cpu_count()
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

import numpy as np

ROOT = Path(__file__).parents[2]
COMMAND = str(ROOT / "target/release/clip-wgpu")


def run(*arguments):
    return subprocess.run([COMMAND, *arguments], check=True, capture_output=True, text=True).stdout


def index(model, path, rows):
    """An index made by the command, with noise for its embeddings."""
    run("index", "-q", "-m", str(model), "--device", "cpu", str(ROOT / "assets/samples"), "--db", str(path))
    db = sqlite3.connect(path)
    db.execute("DELETE FROM file")
    db.execute("DELETE FROM picture")
    for at in range(0, len(rows), 10000):
        part = range(at, min(at + 10000, len(rows)))
        db.executemany("INSERT INTO picture VALUES (?, ?, ?)", ((i, i.to_bytes(32, "little"), rows[i].tobytes()) for i in part))
        db.executemany("INSERT INTO file VALUES (?, 1, 1, ?, NULL)", ((f"/p/{i:08}.jpg", i) for i in part))
    db.commit()
    db.close()


def timed(call, queries):
    times, found = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(call(query))
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), found


def peak_mib(pid="self"):
    return int(next(l for l in open(f"/proc/{pid}/status") if l.startswith("VmHWM")).split()[1]) / 1024


class Ours:
    def __init__(self, model, db, device):
        arguments = ["search", "--repl", "--json", "-q", "-m", str(model), "--device", device, "--db", str(db), "--top", "10", "--threshold", "-1"]
        self.child = subprocess.Popen([COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        start = time.perf_counter()
        self.query("warm")
        self.ready = time.perf_counter() - start

    def query(self, words):
        self.child.stdin.write(words + "\n")
        self.child.stdin.flush()
        hits = json.loads(self.child.stdout.readline())["hits"]
        return [int(Path(h["path"]).stem) for h in hits]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--devices", default="cpu", help="of ours, one or several: cpu,gpu")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    said = [f"# Search beside others, {datetime.date.today()}", "", f"`python {' '.join(os.sys.argv)}`", ""]

    def say(line):
        print(line, flush=True)
        said.append(f"- {line}")

    words = [f"{n} {thing}" for n, thing in zip(range(options.queries), ["red cars", "dogs on a beach", "night", "people"] * options.queries)]
    embedded = json.loads(run("embed", "text", "-q", "--json", "-m", str(options.model), "--device", "cpu", *words))["embeddings"]
    queries = np.array([e["embedding"] for e in embedded], np.float32)
    random = np.random.default_rng(1)
    rows = random.standard_normal((options.rows, queries.shape[1]), np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    rows[7::1000] = rows[3]  # the same picture many times: equal scores
    best = lambda scores: np.lexsort((np.arange(len(scores)), -scores))[:10]
    wide = rows.astype(np.float32)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        index(options.model, Path(folder) / "index.sqlite", rows)
        lines, all_found = [], []
        for device in options.devices.split(","):
            ours = Ours(options.model, Path(folder) / "index.sqlite", device)
            ms, found = timed(ours.query, words)
            mib = peak_mib(ours.child.pid)
            ours.child.stdin.close()
            bench = json.loads(run("bench", "-q", "--json", "-m", str(options.model), "--device", device, "--tower", "text", "--batches", "1", "--tokens", "6", "--seconds", "1"))
            encode_ms, name = bench["lines"][0]["median_ms"], bench["device"]
            lines.append(f"clip-wgpu search --repl, {name}: {ms:.0f} ms a query, of which {encode_ms:.0f} ms encode its words; {mib:.0f} MiB, the model's among them; read in {ours.ready:.1f} s")
            all_found.append(found)
    found = all_found[0]

    # Exactly, in f64: scores that differ by less than f32 can tell may change places.
    exact = [wide.astype(np.float64) @ q.astype(np.float64) for q in queries[:5]] if options.rows <= 2_000_000 else []
    same = sum(bool(np.all(np.abs(np.sort(s)[::-1][:10] - s[f]) < 1e-6)) for s, f in zip(exact, found))
    say(f"{options.rows} x {queries.shape[1]} seeded rows, {THREADS} threads; the ten best are those of f64 in {same} of {len(exact)} queries")
    equal = timed(lambda q: best(wide @ q), queries)
    for line, other in zip(lines, all_found):
        say(line)
        if other is not found:
            near = lambda q, a, b: np.all(np.abs(exact[q][a] - exact[q][b]) < 1e-6)
            say(f"the ten best there are the same, or score the same in f64, in {sum(bool(near(q, a, b)) for q, (a, b) in enumerate(zip(found[:len(exact)], other)))} of {len(exact)} queries")
    agree = sum(list(a) == b for a, b in zip(equal[1], found))
    part = timed(lambda q: np.argpartition(-(wide @ q), 10)[:10], queries)[0]
    say(f"numpy, f32: {part:.0f} ms; the order of a full sort is ours in {agree} of {len(found)}")
    import faiss
    faiss.omp_set_num_threads(THREADS)
    flat = faiss.IndexFlatIP(wide.shape[1])
    flat.add(wide)
    say(f"FAISS {faiss.__version__}, IndexFlatIP: {timed(lambda q: flat.search(q[None], 10), queries)[0]:.0f} ms")
    import usearch
    from usearch.index import search
    say(f"usearch {usearch.__version__}, exact, f16: {timed(lambda q: search(rows, q.astype(np.float16), 10, 'ip', exact=True, threads=THREADS), queries)[0]:.0f} ms")
    say(f"f32 rows take {wide.nbytes / 2**20:.0f} MiB, f16 rows {rows.nbytes / 2**20:.0f} MiB")
    if options.out:
        options.out.write_text("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
