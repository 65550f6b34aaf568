#!/usr/bin/env python3
"""Builds a small server without loopscope and with each of its features, and
prints the table of ../README.md: the crates that a feature adds, the CPU time
of a clean release build, the size of the program, its memory at rest."""
import argparse, os, pathlib, resource, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
# `tokio` alone is the program without loopscope.
ROWS = {
    "tokio": "",
    "no features": "loopscope",
    "`diagnostic`": "diagnostic",
    "`macros`": "macros",
    "the default features": "default-features",
    "default, `serde`": "default-features,serde",
    "default, `attach`": "default-features,attach",
    "default, `prometheus`": "default-features,prometheus",
    "default, `tokio-metrics`": "default-features,tokio-metrics",
    "default, `metrics`": "default-features,metrics",
    "default, `hdrhistogram`": "default-features,hdrhistogram",
    "default, `compressed-debug-info`": "default-features,compressed-debug-info",
    "default, `telemetry`": "default-features,telemetry",
    "default, `telemetry`, `console`": "default-features,telemetry,console",
}


def crates(features):
    tree = subprocess.run(["cargo", "tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--features", features],
                          cwd=HERE, capture_output=True, text=True, check=True).stdout
    return len({line.split(" (")[0] for line in tree.splitlines() if line})


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(features):
    env = dict(os.environ, RUSTFLAGS="--cfg tokio_unstable", CARGO_INCREMENTAL="0", LOOPSCOPE_COLOR="never")
    with tempfile.TemporaryDirectory() as target:
        begin = cpu_seconds()
        build = ["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", target, "--features", features]
        if subprocess.run(build, cwd=HERE, env=env).returncode:
            sys.exit(f"run.py: the build with `{features}` failed, see above")
        cpu = cpu_seconds() - begin
        program = pathlib.Path(target, "release", "adoption")
        run = subprocess.run([program], capture_output=True, text=True, check=True, env=env)
        memory = int(run.stdout) / 1024
        stripped = pathlib.Path(target, "stripped")
        subprocess.run(["strip", "-o", stripped, program], check=True)
        return crates(features), cpu, stripped.stat().st_size / 1e6, memory


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", help="measure only the rows whose name contains this, and the first")
    options = arguments.parse_args()
    print("| with | crates | added | CPU s of a clean build | added | MB stripped | added | MiB at rest | added |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    base = None
    for name, features in ROWS.items():
        if base and options.only and options.only not in name:
            continue
        row = measure(features)
        base = base or row
        formats = ["{}", "{:.0f}", "{:.1f}", "{:.1f}"]
        signed = ["{:+}", "{:+.0f}", "{:+.1f}", "{:+.1f}"]
        cells = []
        for value, first, form, sign in zip(row, base, formats, signed):
            cells += [form.format(value), sign.format(value - first)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
