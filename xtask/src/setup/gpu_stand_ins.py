"""Makes shared libraries that have the names and symbols of GPU libraries, and nothing else.

`gpu_stand_ins.py TORCH OUT`: PyTorch's wheel is linked with gigabytes of GPU libraries that a
process without a GPU never calls; the loader wants them all the same. Every library that those in
the folder TORCH need and nobody has is made in the folder OUT, with every symbol they ask of it.
What runs on the CPU stays PyTorch's own.
"""

import collections
import os
import re
import subprocess
import sys

TORCH, OUT = sys.argv[1:]
# Of the system, of packages that are small and installed, or never loaded.
ELSEWHERE = r"lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|gomp|gfortran|quadmath|z|cuda|cudart|cupti)\.|ld-"
# Libraries without symbol versions share one table, as the loader looks through all of them.
UNVERSIONED = "libcudnn.so"


def readelf(option, path):
    command = ["readelf", "--wide", option, path]
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def owners(path):
    """Which library has to define each version of a symbol."""
    found, library = {}, None
    for line in readelf("--version-info", path).splitlines():
        if match := re.search(r"File: (\S+)", line):
            library = match[1]
        if match := re.search(r"Name: (\S+)\s+Flags", line):
            found[match[1]] = library
    return found


def symbols(path):
    """(name, version, whether it is defined here) of each dynamic symbol."""
    for line in readelf("--dyn-syms", path).splitlines():
        fields = line.split()
        if len(fields) > 7 and fields[4] in ("GLOBAL", "WEAK"):
            name, _, version = fields[7].partition("@")
            yield name, version.strip("@"), fields[6] != "UND"


def build(library, by_version, plain):
    names = sorted(plain.union(*by_version.values()))
    source, versions = f"{OUT}/{library}.c", f"{OUT}/{library}.map"
    with open(source, "w") as file:
        file.writelines(f"char {name}[256];\n" for name in names)
    command = ["cc", "-shared", "-fPIC", source, f"-Wl,-soname,{library}", "-o", f"{OUT}/{library}"]
    if by_version:
        with open(versions, "w") as file:
            for version, members in by_version.items():
                file.write(f"{version} {{ global: {'; '.join(sorted(members))}; }};\n")
        command.append(f"-Wl,--version-script={versions}")
    subprocess.run(command, check=True)


def main():
    files = {name: f"{TORCH}/{name}" for name in os.listdir(TORCH) if ".so" in name}
    needed, defined, plain = set(), set(), set()
    wanted = collections.defaultdict(lambda: collections.defaultdict(set))
    for path in files.values():
        needed.update(re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("--dynamic", path)))
        owner = owners(path)
        for name, version, here in symbols(path):
            if here:
                defined.add(name)
            elif version:
                wanted[owner.get(version)][version].add(name)
            elif name.startswith(("cu", "nccl", "nv")):
                plain.add(name)
    for library in sorted(needed - files.keys()):
        if not re.match(ELSEWHERE, library):
            shared = plain - defined if library.startswith(UNVERSIONED) else set()
            build(library, wanted[library], shared)


main()
