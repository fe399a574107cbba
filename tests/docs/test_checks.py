"""The checks that the session `docs` makes beside the build: they run what a page says, and see links that lead nowhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import check_links
import run_pages
from support import ROOT

PAGE = """
```sh
cat data/one.yaml
. .venv/bin/activate
echo two \\
  three
```

```yaml
# data/one.yaml
one: 1
```

```python
print("four")
```

```text
echo never
```
"""


def test_a_page_runs_in_order_with_its_files_and_without_its_installation(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    commands = run_pages.script(PAGE, tmp_path)
    done = subprocess.run(["bash", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = [line for line in done.stdout.splitlines() if not line.startswith("+")]
    assert said == ["# data/one.yaml", "one: 1", "two three", "four"]


def test_a_command_that_fails_stops_the_page(tmp_path: Path) -> None:
    commands = run_pages.script("```sh\nfalse\necho never\n```\n", tmp_path)
    done = subprocess.run(["bash", "-c", commands], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "never" not in [line for line in done.stdout.splitlines() if not line.startswith("+")]


def test_the_learning_pages_are_run() -> None:
    for name in run_pages.PAGES:
        found = run_pages.blocks((ROOT / "docs" / name).read_text(encoding="utf-8"))
        assert any(("lot run" if language == "sh" else "lot.train") in text for language, text in found), name


def test_links_to_missing_pages_and_anchors_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="top-of-a">A</h1><a href="b.html#here">b</a><a href="#top-of-a">a</a>')
    (tmp_path / "b.html").write_text('<p id="here">B</p><a href="a.html#gone">a</a><img src="c.png">')
    assert check_links.broken(tmp_path) == ["b.html: a.html#gone", "b.html: c.png"]
