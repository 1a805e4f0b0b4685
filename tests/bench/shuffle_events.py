#!/usr/bin/env python3
"""Events of a TSV.gz in a random order within each user, for data without times whose order means nothing.

  shuffle_events.py FROM.tsv.gz TO.tsv.gz

The Gowalla split lists each user's items by number; a trainer that learns from the order of events would learn the numbering.
The same result on every run.
"""
import gzip
import random
import sys


def main():
    source, target = sys.argv[1:]
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        header = next(lines)
        by_user = {}
        for line in lines:
            by_user.setdefault(line.split("\t", 1)[0], []).append(line)
    order = random.Random(1)
    with gzip.open(target, "wt", encoding="utf-8", compresslevel=1) as out:
        out.write(header)
        for lines in by_user.values():
            order.shuffle(lines)
            out.writelines(lines)


if __name__ == "__main__":
    main()
