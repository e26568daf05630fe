from __future__ import annotations

import csv
import io

from training.evaluation.benchmark.columns import COLUMNS
from training.evaluation.benchmark.meters import Cell
from training.evaluation.benchmark.pairs import CROSS, RECONSTRUCTION
from training.evaluation.benchmark.paper import ABLATION_KEYS, ABLATIONS, KEYS, PAPER
from training.evaluation.benchmark.table import Row, Table, as_csv, as_markdown
from training.synthetic.measure.metrics import Estimate

TABLE = Table(
    [
        Row(
            RECONSTRUCTION, "one", 2, 3, {"vl": Cell(Estimate(70.321, 60.0, 80.5), 2), "fid": Cell(None, 1, "too few")}
        ),
        Row(CROSS, "one", 3, 3, {"lipleak": Cell(Estimate(0.0, 0.0, 0.0), 3)}),
    ],
    {"cmmd": "needs CLIP: name it with --cmmd"},
    ["left out: notes.txt: no video"],
    {"seed": 4},
)


def test_columns_begin_with_those_of_the_paper_in_its_order() -> None:
    assert tuple(COLUMNS)[: len(KEYS)] == KEYS
    heads = [COLUMNS[key].head for key in KEYS]
    assert heads == ["CMMD ↓", "TOPIQ ↑", "VL ↑", "FVD ↓", "LipScore ↑", "LipLeak ↓", "Elo ↑"]
    assert set(ABLATION_KEYS) < set(KEYS)


def test_markdown_has_figures_with_intervals_and_says_what_is_missing() -> None:
    text = as_markdown(TABLE)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| protocol | system | clips | CMMD ↓ | TOPIQ ↑ | VL ↑ | FVD ↓ | LipScore ↑ | LipLeak ↓ | Elo ↑ |"
    assert rows[2] == "| reconstruction | one | 2 of 3 | - | - | 70.32 [60.00, 80.50] | - | - | - | - |"
    assert rows[3] == "| cross-sync | one | 3 of 3 | - | - | - | - | - | 0.00 [0.00, 0.00] | - |"
    assert "- **CMMD** needs CLIP: name it with --cmmd.\n" in text
    assert "left out: notes.txt" in text
    assert "DiffDub" not in text


def test_rows_of_the_paper_stand_beside() -> None:
    text = as_markdown(TABLE, beside_paper=True)
    assert "| cross-sync | KeySync | 0.070 | 0.58 | 73.04 | 206.32 | 0.48 | 0.16 | 1145 |" in text
    assert "| reconstruction | TalkLip | 0.230 | 0.39 | 29.07 | 608.92 | 0.58 | - | 920 |" in text
    assert "| cross-sync | without temporal layers | 0.142 | 618.27 | 0.39 |" in text
    assert "compare the order of systems, not the numbers" in text
    assert len(PAPER) == 12
    assert len(ABLATIONS) == 3


def test_csv_has_a_line_for_each_figure_and_never_zero_for_nothing() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert len(rows) == 2 * len(COLUMNS)
    found = {(row["protocol"], row["column"]): row for row in rows}
    vl = found[RECONSTRUCTION, "vl"]
    assert (vl["value"], vl["low"], vl["high"], vl["clips"], vl["missing"]) == ("70.321", "60.0", "80.5", "2", "")
    assert found[CROSS, "lipleak"]["value"] == "0.0"
    nothing = found[RECONSTRUCTION, "cmmd"]
    assert (nothing["value"], nothing["missing"]) == ("", "needs CLIP: name it with --cmmd")
    assert found[RECONSTRUCTION, "fid"]["missing"] == "too few"
    assert found[RECONSTRUCTION, "lipleak"]["missing"] == "not a part of this protocol"


def test_json_has_the_same_and_the_settings() -> None:
    content = TABLE.to_dict()
    assert content["seed"] == 4
    assert content["rows"][0]["vl"] == {"value": 70.321, "interval": [60.0, 80.5], "clips": 2, "missing": None}
    assert content["rows"][1]["cmmd"]["value"] is None
    assert content["missing"] == {"cmmd": "needs CLIP: name it with --cmmd"}
