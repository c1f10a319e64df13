"""Charts as SVG that takes its colours from the page, so that it fits a light and a dark one."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# matplotlib wants fixed colours. These stand for the page's CSS variables, which replace them in the SVG.
_INK, _RULE = "#010101", "#020202"
_SERIES = tuple(f"#0300{number:02x}" for number in range(1, 11))
# Colours, markers and dashes are numbers without a common divisor: all three together come again after 330 series.
# `.dvc/plots/by_method.json` and `by_series.json` have the same ones, in the same order.
_MARKERS = "os^DvPX*<>h"
_DASHES: tuple[str | tuple[int, tuple[int, int]], ...] = ("-", (0, (6, 3)), (0, (2, 2)))
_VARIABLES = {_INK: "var(--ink)", _RULE: "var(--rule)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, start=1)
}
_COLOUR = re.compile("#[0-9a-f]{6}")
_SIZE = re.compile(r' (?:width|height)="[\d.]+pt"')
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_WIDTH = 6.4
_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's font
    "svg.hashsalt": "memsifter",  # the same figure gives the same ids
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.edgecolor": _RULE,
    "grid.color": _RULE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 3.5,
    "lines.scale_dashes": False,
}


def draw_intervals(rows: pd.DataFrame, label: str, order: Sequence[str]) -> Markup:
    """A mark per row of `mean`, with `low` to `high` as a line.

    Args:
        rows: indexed by the names of the series.
        label: names the axis.
        order: the names of all series of the page; a name's place in it decides its colour and marker in every chart.
    """
    with _figure(1.0 + 0.34 * len(rows)) as (axes, svg):
        for place, row in enumerate(rows.itertuples()):
            colour, marker, _ = _style(order.index(str(row.Index)))
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2, clip_on=False)
            axes.plot(row.mean, place, marker, color=colour, markersize=7, clip_on=False)
        axes.set_yticks(range(len(rows)), list(rows.index))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel(label)
    return Markup(svg.getvalue())  # noqa: S704 - matplotlib escapes its labels


def draw_lines(series: pd.DataFrame, x_label: str, y_label: str, order: Sequence[str]) -> Markup:
    """A line per column over the index; a missing value has no point. `order` is as in `draw_intervals`."""
    with _figure(3.4) as (axes, svg):
        for name, values in series.items():
            colour, marker, dash = _style(order.index(str(name)))
            points = values.dropna()
            axes.plot(points.index, points, marker=marker, markersize=6, color=colour, linestyle=dash, label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.margins(y=0.1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return Markup(svg.getvalue())  # noqa: S704 - matplotlib escapes its labels


def _style(place: int) -> tuple[str, str, str | tuple[int, tuple[int, int]]]:
    """Colour, marker and dashes of the series at a place of the order."""
    return _SERIES[place % len(_SERIES)], _MARKERS[place % len(_MARKERS)], _DASHES[place % len(_DASHES)]


@contextmanager
def _figure(height: float) -> Iterator[tuple[Axes, io.StringIO]]:
    """A figure without a window; when the body ends, the SVG with the page's colours is in the stream."""
    svg = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure.subplots(), svg
        raw = io.StringIO()
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = raw.getvalue()
    text = text[text.index("<svg") :]  # the XML prologue has no place inside HTML
    text = _SIZE.sub("", text, count=2)  # the page scales the figure
    text = _GROUP_ID.sub("<g", text)  # nothing refers to them, and they repeat in the next figure
    svg.write(_COLOUR.sub(lambda match: _VARIABLES.get(match[0], match[0]), text))
