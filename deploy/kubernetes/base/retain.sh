#!/bin/sh
# retain.sh MODELS KEEP: deletes all snapshots of the model directory but the newest KEEP and those that CURRENT and PINNED
# name. Each is renamed away first, so that no server sees one that is half there.
set -eu
models=$1 keep=$2
case $keep in '' | 0* | *[!0-9]*) echo "retain.sh: KEEP '$keep' is not a positive number" >&2; exit 2 ;; esac
cd "$models"
# A name that holds no version keeps everything: better a full disk than the wrong snapshot deleted.
held=
for name in CURRENT PINNED; do
  [ -e "$name" ] || continue
  version=$(cat "$name")
  case $version in '' | *[!0-9]*) echo "retain.sh: $models/$name holds '$version', no version: nothing is deleted" >&2; exit 1 ;; esac
  held="$held $version"
done
rm -rf .retired-*
ls -1 | grep -E '^[1-9][0-9]*$' | sort -rn | tail -n "+$((keep + 1))" | while read -r version; do
  case " $held " in *" $version "*) continue ;; esac
  mv "$version" ".retired-$version"
  rm -rf ".retired-$version"
  echo "snapshot $version was deleted"
done
