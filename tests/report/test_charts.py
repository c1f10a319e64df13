import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memsifter.report import charts
from memsifter.report.charts import draw_intervals, draw_lines

PROJECT = Path(__file__).resolve().parents[2]
METHODS = [
    *("dense", "lexical", "hand_weighted", "fitted", "fitted_likelihood"),
    *("coarse", "base", "round1", "round2", "round3"),
]
LINES = pd.DataFrame({name: [place / 10, place / 8] for place, name in enumerate(METHODS)}, index=[1, 10])
INTERVALS = pd.DataFrame({"mean": 0.5, "low": 0.4, "high": 0.6}, index=METHODS)


def marks(svg: str) -> list[tuple[str, str]]:
    """Marker (its outline) and colour of every mark that stands for a value, in the order of drawing."""
    outlines = dict(re.findall(r'<path id="(\w+)" d="([^"]+)"', svg))
    uses = re.findall(r'<use (?:xlink:)?href="#(\w+)"[^>]*style="fill: (var\(--series-\d+\))', svg)
    return list(dict.fromkeys((outlines[name], colour) for name, colour in uses))


@pytest.mark.parametrize("svg", [draw_lines(LINES, "k", "NDCG", METHODS), draw_intervals(INTERVALS, "NDCG", METHODS)])
def test_each_method_has_a_colour_and_a_marker_of_its_own(svg: str) -> None:
    outlines, colours = zip(*marks(svg), strict=True)
    assert len(set(outlines)) == len(set(colours)) == len(METHODS)


def test_a_method_looks_the_same_in_every_chart() -> None:
    lines, intervals = draw_lines(LINES, "k", "NDCG", METHODS), draw_intervals(INTERVALS, "NDCG", METHODS)
    assert [colour for _, colour in marks(lines)] == [colour for _, colour in marks(intervals)]
    fewer = LINES[["coarse", "round1"]]  # of a dataset that lacks some of the methods
    assert [colour for _, colour in marks(draw_lines(fewer, "k", "NDCG", METHODS))] == [
        *("var(--series-6)", "var(--series-8)"),
    ]


def test_a_missing_value_has_no_mark() -> None:
    gaps = LINES.assign(dense=[float("nan"), 0.5])
    points = [draw_lines(lines, "k", "NDCG", METHODS).count('style="fill: var(--series-1)') for lines in (LINES, gaps)]
    assert points[0] - points[1] == 1


def test_300_series_look_different() -> None:
    styles = [charts._style(place) for place in range(300)]
    assert len(set(styles)) == len(styles)
    assert len({colour for colour, _, _ in styles[:10]}) == len({marker for _, marker, _ in styles[:10]}) == 10


# Machado, Oliveira and Fernandes (2009): what each kind of colour-blindness makes of linear RGB, at its strongest.
VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
OKABE_ITO = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"]


def linear(colours: list[str]) -> Any:
    """Linear RGB, [n, 3]."""
    values = np.array([[int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in colours])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def smallest_distance(colours: list[str], kind: str) -> float:
    """The CIELAB distance of the two colours that look most alike."""
    xyz = np.clip(linear(colours) @ VISION[kind].T, 0, 1) @ XYZ.T / XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    return min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(lab, 2))


def palettes() -> dict[str, dict[str, str]]:
    """The page's colours by name, of the light and of the dark page."""
    css = (PROJECT / "memsifter/report/templates/page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return {name: dict(re.findall(r"--([\w-]+): (#\w{6})", text)) for name, text in (("light", light), ("dark", dark))}


def series(palette: str) -> list[str]:
    return [colour for name, colour in palettes()[palette].items() if name.startswith("series-")]


@pytest.mark.parametrize("palette", ["light", "dark"])
@pytest.mark.parametrize("kind", list(VISION))
def test_ten_colours_are_as_far_apart_as_those_of_okabe_and_ito(palette: str, kind: str) -> None:
    least = min(smallest_distance(OKABE_ITO, name) for name in VISION)
    assert len(series(palette)) == 10
    assert smallest_distance(series(palette), kind) >= least


@pytest.mark.parametrize("palette", ["light", "dark"])
def test_every_colour_stands_out_from_the_page(palette: str) -> None:
    """By the contrast of 3 that WCAG 2.1 asks of graphics."""
    luminance = linear([palettes()[palette]["paper"], *series(palette)]) @ XYZ[1]
    paper, colours = luminance[0], luminance[1:]
    assert ((np.maximum(colours, paper) + 0.05) / (np.minimum(colours, paper) + 0.05) >= 3).all()


@pytest.mark.parametrize(("name", "field"), [("by_method", "method"), ("by_series", "series")])
def test_the_plots_of_dvc_look_like_those_of_the_page(name: str, field: str) -> None:
    template = json.loads((PROJECT / ".dvc" / "plots" / f"{name}.json").read_text(encoding="utf-8"))
    styles = template["config"]["range"]
    assert styles["category"] == series("light")
    line, point = (layer["encoding"] for layer in template["spec"]["layer"])
    assert len(set(styles["symbol"])) == len(charts._MARKERS)
    assert len(line["strokeDash"]["scale"]["range"]) == len(charts._DASHES)
    encodings = [line["stroke"], line["strokeDash"], point["color"], point["shape"]]
    assert all(encoding["field"] == field for encoding in encodings)
    assert all(encoding["sort"] is None for encoding in encodings), "in the order of the rows, not of the alphabet"
