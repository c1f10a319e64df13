import re

import pandas as pd
import pytest

from memsifter.report.charts import draw_intervals, draw_lines

METHODS = ["dense", "lexical", "hand_weighted", "fitted", "coarse", "base", "round1", "round2"]
LINES = pd.DataFrame({name: [place / 10, place / 8] for place, name in enumerate(METHODS)}, index=[1, 10])
INTERVALS = pd.DataFrame({"mean": 0.5, "low": 0.4, "high": 0.6}, index=METHODS)


def marks(svg: str) -> list[tuple[str, str]]:
    """Marker (its outline) and colour of every mark that stands for a value, in the order of drawing."""
    outlines = dict(re.findall(r'<path id="(\w+)" d="([^"]+)"', svg))
    uses = re.findall(r'<use (?:xlink:)?href="#(\w+)"[^>]*style="fill: (var\(--series-\d+\))', svg)
    return list(dict.fromkeys((outlines[name], colour) for name, colour in uses))


@pytest.mark.parametrize("svg", [draw_lines(LINES, "k", "NDCG"), draw_intervals(INTERVALS, "NDCG")])
def test_each_method_has_a_colour_and_a_marker_of_its_own(svg: str) -> None:
    outlines, colours = zip(*marks(svg), strict=True)
    assert len(set(outlines)) == len(set(colours)) == len(METHODS)


def test_a_method_looks_the_same_in_both_charts() -> None:
    lines, intervals = marks(draw_lines(LINES, "k", "NDCG")), marks(draw_intervals(INTERVALS, "NDCG"))
    assert [colour for _, colour in lines] == [colour for _, colour in intervals]


def test_a_missing_value_has_no_mark() -> None:
    gaps = LINES.assign(dense=[float("nan"), 0.5])
    points = [draw_lines(lines, "k", "NDCG").count('style="fill: var(--series-1)') for lines in (LINES, gaps)]
    assert points[0] - points[1] == 1
