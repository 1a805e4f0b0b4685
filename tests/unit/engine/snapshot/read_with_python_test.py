"""Reads a snapshot with nothing but Python's standard library, as the formats describe it.

usage: read_with_python_test.py <write_sample_snapshot binary>

With the safetensors package installed, that reads it too and must agree.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

FORMATS = {"F32": "f", "BF16": "H", "U64": "Q", "U32": "I", "U8": "B"}


def widen(bits):
    """The value of a bf16: the upper half of a float."""
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def read_safetensors(path):
    """Name to (dtype, shape, values), pads aside; checks what the format and the snapshot promise."""
    with open(path, "rb") as f:
        blob = f.read()
    (header_bytes,) = struct.unpack("<Q", blob[:8])
    header_text = blob[8 : 8 + header_bytes]
    assert header_text.startswith(b"{"), "the header must start with {"
    header = json.loads(header_text)
    start = 8 + header_bytes
    assert start % 64 == 0, f"data starts at {start}"
    metadata = header.pop("__metadata__")
    assert all(isinstance(v, str) for v in metadata.values())

    tensors = {}
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == position, f"{name} starts at {begin}, the one before ended at {position}"
        position = end
        count = 1
        for n in entry["shape"]:
            count *= n
        code = FORMATS[entry["dtype"]]
        assert end - begin == count * struct.calcsize("<" + code), name
        if name.startswith("__pad__."):
            assert not any(blob[start + begin : start + end]), f"{name} is not zero"
            continue
        assert begin % 64 == 0, f"{name} starts at {begin}"
        values = struct.unpack(f"<{count}{code}", blob[start + begin : start + end])
        if entry["dtype"] == "BF16":
            values = tuple(widen(v) for v in values)
        tensors[name] = (entry["dtype"], entry["shape"], values)
    assert start + position == len(blob), "bytes after the last tensor"
    return tensors


def texts(tensors, offsets_name, bytes_name):
    offsets = tensors[offsets_name][2]
    data = bytes(tensors[bytes_name][2])
    return [data[a:b].decode() for a, b in zip(offsets, offsets[1:])]


def check(directory, row_type):
    with open(os.path.join(directory, "manifest.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    path = os.path.join(directory, "model.safetensors")
    tensors = read_safetensors(path)
    assert manifest["format_version"] == 1 and manifest["version"] == 3
    assert (manifest["num_items"], manifest["dim"], manifest["row_stride"]) == (37, 10, 16)
    assert manifest["files"]["model.safetensors"]["bytes"] == os.path.getsize(path)
    assert manifest["event_classes"][0]["min_value"] is None

    assert manifest["row_type"] == row_type
    row_dtype = {"float32": "F32", "bf16": "BF16"}[row_type]
    dtype, shape, vectors = tensors["item.vectors"]
    assert (dtype, shape) == (row_dtype, [37, 16])
    assert tensors["item.input_vectors"][0] == row_dtype
    ids = texts(tensors, "item.id_offsets", "item.id_bytes")
    titles = texts(tensors, "item.title_offsets", "item.title_bytes")
    slots = tensors["item.key_slots"][2]
    keys = tensors["item.keys"][2]
    with open(os.path.join(directory, "expected.txt"), encoding="utf-8") as f:
        expected = [line.rstrip("\n").split("\t") for line in f]
    assert len(expected) == 37
    for row, (item_id, key, title, popularity, first, last) in enumerate(expected):
        assert ids[row] == item_id and titles[row] == title, row
        assert keys[row] == int(key), row
        assert tensors["item.popularity"][2][row] == float.fromhex(popularity), row
        assert vectors[16 * row] == float.fromhex(first), row
        assert vectors[16 * row + 9] == float.fromhex(last), row
        assert not any(vectors[16 * row + 10 : 16 * row + 16]), row
        slot = keys[row] % len(slots)
        while slots[slot] != row + 1:
            assert slots[slot] != 0, f"row {row} is not found by its key"
            slot = (slot + 1) % len(slots)

    try:
        from safetensors import safe_open
    except ImportError:
        print(row_type, "rows: read with the standard library")
        return
    with safe_open(path, framework="np") as official:
        for name, (dtype, shape, values) in tensors.items():
            view = official.get_slice(name)
            assert (view.get_dtype(), list(view.get_shape())) == (dtype, shape), name
            if dtype == "BF16":  # which numpy has no type for
                continue
            assert official.get_tensor(name).ravel().tolist() == list(values), name
    print(row_type, "rows: read with the standard library and with the safetensors package")


def main():
    with tempfile.TemporaryDirectory() as parent:
        for row_type in ("float32", "bf16"):
            directory = os.path.join(parent, row_type, "3")
            os.mkdir(os.path.dirname(directory))
            subprocess.run([sys.argv[1], directory, row_type], check=True)
            check(directory, row_type)


if __name__ == "__main__":
    main()
