"""Studies from Python: two names do it, and importing them waits for nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from study_support import RUN, write


def python(code: str, folder: Path) -> str:
    """The last line that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_study_is_made_with_two_names(tmp_path: Path) -> None:
    pytest.importorskip("lot_tasks")
    arms = {"vanilla": {}, "smooth": {"losses": {"cross_entropy": {"label_smoothing": 0.2}}}}
    write(tmp_path / "mine.yaml", {"base": RUN, "arms": arms, "seeds": 2, "metrics": ["loss"]})
    said = python(
        "from pathlib import Path\n"
        "from lot_cli.study import conduct, load_study\n"
        "result = conduct(load_study(Path('mine.yaml')), Path('here'), device='cpu')\n"
        "print(result.name, [c.verdict for c in result.comparisons], len(result.arms['smooth'].scores['loss']))\n",
        tmp_path,
    )
    assert said == "mine ['too few pairs'] 2"
    assert (tmp_path / "here" / "study.json").is_file()


def test_reading_a_study_or_its_help_imports_no_torch(tmp_path: Path) -> None:
    loaded = "print(sorted({'torch', 'numpy', 'scipy', 'rich'} & set(sys.modules)))"
    assert python(f"import sys; from lot_cli.study import Result, load_result, load_study; {loaded}", tmp_path) == "[]"
    for command in ("study", "compare", "bench", "export", "plot", "generate", "eval"):
        code = f"import sys; from lot_cli.main import main; assert main(['{command}', '--help']) == 0; {loaded}"
        assert python(code, tmp_path) == "[]", command


def test_the_door_is_a_function_whatever_was_imported_before(tmp_path: Path) -> None:
    code = "import lot_cli.study.procedure; from lot_cli.study import conduct; print(callable(conduct))"
    assert python(code, tmp_path) == "True"


def test_a_name_that_is_not_there_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'condct'"):
        from lot_cli.study import condct  # type: ignore[attr-defined]  # noqa: F401


def test_a_study_that_is_refused_leaves_no_folder_and_takes_none(tmp_path: Path) -> None:
    from lot.errors import BadInput
    from lot_cli.study import conduct
    from lot_cli.study.design.file import study_from

    (tmp_path / "mine").mkdir()
    study = study_from({"base": RUN, "arms": {"vanilla": {}, "b": {"model": {"mlp_ratio": 2.0}}}}, "x")
    with pytest.raises(BadInput, match="mlp_ratio"):
        conduct(study, tmp_path / "mine" / "deep" / "study")
    assert list((tmp_path / "mine").iterdir()) == []
