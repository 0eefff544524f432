"""Bandwidth over size, batchnormd and its peers against the memory copy.

    plot.py RESULTS.json NAME

reads what `kernel_benchmark --format json` printed and writes NAME.svg and
NAME.png.
"""

import argparse
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker  # noqa: E402

COPIES = ("cached copy", "streaming copy")
OURS = {"nchw": ("C0", "o", "NCHW"), "nhwc": ("C1", "s", "NHWC"), "nc": ("C2", "^", "N x C")}
PEERS = {"oneDNN": ("0.45", "x"), "PyTorch reused": ("C3", "+")}


def bandwidth(result, peer, threads):
    """Bytes of x a second by the median, in GB/s, or None."""
    for series in result["series"]:
        if (series["peer"], series["threads"]) == (peer, threads):
            return result["bytes"] / statistics.median(series["seconds"]) / 1e9
    return None


def points(results, peer, threads):
    pairs = [(r["bytes"], bandwidth(r, peer, threads)) for r in results]
    return [pair for pair in pairs if pair[1] is not None]


def copy_line(results, threads):
    """The better copy at each size; sizes that several problems have, once."""
    by_size = {}
    for copy in COPIES:
        for size, value in points(results, copy, threads):
            by_size.setdefault((size, copy), []).append(value)
    best = {}
    for (size, _), values in by_size.items():
        best[size] = max(best.get(size, 0), statistics.median(values))
    return sorted(best.items())


def draw_panel(axes, results, direction, threads):
    copy = "copy" if direction == "forward" else "read two, write one"
    axes.plot(*zip(*copy_line(results, threads)), color="black", lw=1.2, label=copy)
    for peer, (color, marker) in PEERS.items():
        measured = points(results, peer, threads)
        if measured:
            axes.scatter(*zip(*measured), s=16, lw=0.9, color=color, marker=marker, label=peer)
    for layout, (color, marker, name) in OURS.items():
        measured = points([r for r in results if r["layout"] == layout], "batchnormd", threads)
        if measured:
            axes.scatter(*zip(*measured), s=20, color=color, marker=marker,
                         label=f"batchnormd {name}", zorder=3)  # fmt: skip
    plural = "" if threads == 1 else "s"
    axes.set_title(f"{direction}, {threads} thread{plural}", fontsize=10)


def size_label(size, _position=None):
    for unit, scale in (("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:g} {unit}"
    return f"{size:g} B"


def dress(axes):
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(base=16, numticks=12))
    axes.xaxis.set_major_formatter(size_label)
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.grid(True, lw=0.4, color="0.85")
    axes.set_axisbelow(True)


def draw(run, stem):
    """Writes the picture to stem.svg and stem.png."""
    directions = ("forward", "backward")
    figure, grid = pyplot.subplots(
        len(directions), len(run["threads"]), figsize=(5.2 * len(run["threads"]), 8),
        sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    for row, direction in zip(grid, directions):
        results = [r for r in run["results"] if r["direction"] == direction]
        for axes, threads in zip(row, run["threads"]):
            if results:
                draw_panel(axes, results, direction, threads)
            dress(axes)
        row[0].set_ylabel("GB/s of x")
        row[0].legend(fontsize=7, loc="best")
    for axes in grid[-1]:
        axes.set_xlabel("size of x, f32")
    figure.suptitle(run["machine"], fontsize=7)
    figure.tight_layout()
    # The same results give the same files.
    matplotlib.rcParams["svg.hashsalt"] = "bandwidth"
    figure.savefig(f"{stem}.svg", metadata={"Date": None})
    figure.savefig(f"{stem}.png", dpi=110, metadata={"Software": None})


def run_of(path):
    """What kernel_benchmark printed: the type of an argument."""
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"no results in {path}: {error}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", metavar="RESULTS.json", type=run_of)
    parser.add_argument("name", metavar="NAME", help="of the pictures, without a suffix")
    arguments = parser.parse_args()
    draw(arguments.results, arguments.name)


if __name__ == "__main__":
    main()
