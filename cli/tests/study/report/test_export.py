"""The tables as files: CSV holds every digit, LaTeX what the report shows, and no text of a file becomes a command."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest
from invented_result import invented

from lot_cli.study.report.export import Sheet, texts, to_csv, to_latex, write_tables
from lot_cli.study.report.markdown import to_markdown
from lot_cli.study.report.tables import effect_cell


def test_every_value_is_in_the_csv_to_the_last_digit(tmp_path: Path) -> None:
    result = invented()
    write_tables(result, tmp_path)
    with (tmp_path / "seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6 * 3
    for row in rows:
        value = result.arms[row["arm"]].scores[row["metric"]][result.seeds.index(int(row["seed"]))]
        assert (float(row["value"]) if row["value"] else None) == value
    with (tmp_path / "comparisons.csv").open(newline="") as file:
        comparisons = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in comparisons] == [c.mean for c in result.comparisons]
    assert [row["verdict"] for row in comparisons] == [c.verdict for c in result.comparisons]
    assert comparisons[0]["diverged"] == "0 0"
    with (tmp_path / "arms.csv").open(newline="") as file:
        assert [row["parameters"] for row in csv.DictReader(file)] == ["1000", "1001", "1002"]
    assert (tmp_path / "tuning.csv").read_text().splitlines()[1] == "vanilla,0.01,0.75,0.25,0,True"


def test_every_table_of_the_report_is_there_in_latex(tmp_path: Path) -> None:
    write_tables(invented(), tmp_path)
    names = {path.stem for path in tmp_path.glob("*.tex")}
    assert names == {"comparisons", "equal_time", "arms", "seeds_accuracy", "seeds_loss", "tuning", "claims"}
    report = to_markdown(invented())
    for sheet in texts(invented()):
        for row in sheet.rows:
            assert f"| {' | '.join(row)} |" in report
        text = (tmp_path / f"{sheet.name}.tex").read_text()
        body = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert len(body) == len(sheet.rows) + 1
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(sheet.titles) - 1}


def test_text_is_no_command() -> None:
    sheet = Sheet("t", ["50 %_x"], [["a & b \\ {c} #1 ~^ $5"], ["[0, 1]"]])
    assert to_latex(sheet).splitlines()[3:7] == [
        r"50 \%\_x \\",
        r"\midrule",
        r"a \& b \textbackslash{} \{c\} \#1 \textasciitilde{}\textasciicircum{} \$5 \\",
        r"{[0, 1]} \\",
    ]
    assert to_csv(Sheet("t", ["a", "b"], [['say "x", y', None]])) == 'a,b\n"say ""x"", y",\n'


def test_two_pairs_have_no_effect_size_and_equal_differences_an_infinite_one() -> None:
    c = attrs.evolve(invented().comparisons[0], effect=None)
    assert effect_cell(c) == "+∞"
    assert effect_cell(attrs.evolve(c, pairs=2)) == "–"


def test_all_that_a_report_shows_is_ascii_in_latex() -> None:
    result = attrs.evolve(invented(), comparisons=[attrs.evolve(c, effect=None) for c in invented().comparisons])
    for sheet in texts(result):
        assert to_latex(sheet).isascii(), sheet.name


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_takes_it(tmp_path: Path) -> None:
    write_tables(invented(), tmp_path)
    inputs = "\n".join(rf"\input{{{path.stem}}}" for path in sorted(tmp_path.glob("*.tex")))
    page = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{inputs}\\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "page"], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
