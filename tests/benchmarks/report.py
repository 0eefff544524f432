"""Writes the results of a full run as a page of tables, with its plot.

    report.py RESULTS.json MACHINE

RESULTS.json is what `kernel_benchmark --format json` printed. MACHINE names the
kind of machine, by its widest vectors: avx512, avx2. Writes results/MACHINE.md,
results/MACHINE.svg and results/MACHINE.png.
"""

import argparse
import pathlib

import plot

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
METRICS = {
    "over copy": "/copy",
    "over plain": "/plain",
    "oneDNN": "oneDNN",
    "oneDNN best": "its best",
    "PyTorch": "PyTorch",
    "PyTorch reused": "reused",
    "f16": "f16",
    "bf16": "bf16",
    "wide": "wide",
    "scaling": "scaling",
    "scaling over copy": "/copy's",
}


def table(titles, rows):
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value):
    return "" if value is None else f"{value:.2f}"


def metrics(ratios):
    return [number(ratios.get(metric)) for metric in METRICS]


def target_table(run):
    rows = []
    for target in run["targets"]:
        sign = "≥" if target["at_least"] else "≤"
        met = "met" if target["met"] else "**missed**"
        rows.append([target["name"], f"{target['value']:.3g}", f"{sign} {target['bound']:g}", met])
    return table(["target", "value", "bound", ""], rows)


def mean_table(run):
    rows = [
        [mean["class"], mean["direction"], str(mean["threads"]), *metrics(mean)]
        for mean in run["means"]
    ]
    return table(["geometric means", "direction", "threads", *METRICS.values()], rows)


def our_bandwidth(result, threads):
    value = plot.bandwidth(result, "batchnormd", threads)
    return number(value)


def problem_table(run):
    rows = []
    for result in run["results"]:
        for ratios in result["ratios"]:
            threads = ratios["threads"]
            rows.append([result["sizes"], result["layout"], result["direction"], str(threads),
                         our_bandwidth(result, threads), *metrics(ratios)])  # fmt: skip
    titles = ["shape", "layout", "direction", "threads", "GB/s", *METRICS.values()]
    return table(titles, rows)


def page(run, machine):
    kept = sum(target["met"] for target in run["targets"])
    quick = ", the quick subset" if run["quick"] else ""
    return f"""\
# kernel_benchmark, {machine}

Made by [report.py](../report.py); columns and targets are explained in
[its README](../README.md).

{run["machine"]}. oneDNN {run["onednn"]}, PyTorch {run["pytorch"] or "left out"}{quick}.
Load average before the run: {run["load"]:.1f}.

![Bandwidth over size]({machine}.svg)

{kept} of {len(run["targets"])} targets met.

{target_table(run)}

{mean_table(run)}

<details><summary>Every shape</summary>

{problem_table(run)}

</details>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", metavar="RESULTS.json", type=plot.run_of)
    parser.add_argument("machine", metavar="MACHINE", help="avx512 or avx2, for example")
    arguments = parser.parse_args()
    plot.draw(arguments.results, RESULTS / arguments.machine)
    (RESULTS / f"{arguments.machine}.md").write_text(page(arguments.results, arguments.machine))


if __name__ == "__main__":
    main()
