#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the built UI as a C table (gateway/face/assets.h), plain and compressed, the same bytes at every run.

    embed.py OUT.c FILE...
"""
import gzip
import hashlib
import os
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def array(name, data):
    rows = (",".join(map(str, data[i:i + 32])) for i in range(0, len(data), 32))
    return f"static const unsigned char {name}[] = {{\n" + ",\n".join(rows) + "};\n"


def main():
    out, *files = sys.argv[1:]
    arrays, table = [], []
    for i, file in enumerate(sorted(files, key=os.path.basename)):
        name = os.path.basename(file)
        with open(file, "rb") as f:
            plain = f.read()
        packed = gzip.compress(plain, 9, mtime=0)
        path = "/" if name == "index.html" else "/" + name
        etag = '\\"%s\\"' % hashlib.sha256(plain).hexdigest()[:16]
        arrays += [array(f"plain_{i}", plain), array(f"gzip_{i}", packed)]
        table.append(f'\t{{"{path}", "{TYPES[os.path.splitext(name)[1]]}", "{etag}", '
                     f"plain_{i}, gzip_{i}, {len(plain)}, {len(packed)}}},\n")
    with open(out, "w") as f:
        f.write('/* Made by gateway/web/embed.py. */\n#include "gateway/face/assets.h"\n\n' + "".join(arrays)
                + "const struct asset assets[] = {\n" + "".join(table)
                + "};\nconst size_t asset_count = sizeof(assets) / sizeof(assets[0]);\n")


if __name__ == "__main__":
    main()
