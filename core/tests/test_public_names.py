"""The public surface: `lot` and the modules beside it. A change to it is a change to a list in this file."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lot
from lot.plugins.component import KINDS

SURFACE = {
    "lot": """
        Attention BadInput Batch Cache Component Config Context CrossEntropy Damage Decoder Diagnostic Dims Diverged
        Embedding Evaluation GeneratorFor IGNORED Interrupted Kernel Look Loss LotError MLP Model NoOptions Output
        Parts PluginError Positions Probe Record RecordedRun Recorder Recording Registry Reliance Result RunFailed
        Sizes Split Task __version__ ablation build_model build_task cache_folder diagnose evaluate file_digest generate
        hookimpl load_config load_run option registry reliance train
    """,
    "lot.nn": """
        Ablatable CachedAttention Documents FEATURE_MULTIPLE KeyValueCache Neutralizable Projections Rotary apart attend
        attention_mask attention_weights context dropout_now export_form find_projections first_rows mean_by_position
        require_heads scan with_documents
    """,
    "lot.metrics": "BitsPerUnit ExactMatch MeanLoss Perplexity TokenAccuracy",
    "lot.random": "STORED derive initialize isolated numpy_generator permutation torch_generator",
    "lot.circular": "chance_order circular_mean circular_variance order_parameter wrap",
    "lot.figure": """
        DIVERGING_MAP MOVIES PALETTE PHASE_MAP SEQUENTIAL_MAP apart heading literal mark_leak new_figure over_training pack
        save_animation smooth spaced token_names unpack
    """,
    "lot.signals": "SIGNALS Shape Signal Source shape_problem",
    "lot.testing": """
        CheckResult DIMS KitFailure KitResult NotApplicable check_attention check_diagnostic check_embedding check_loss
        check_mlp check_model check_optimizer check_recorder check_task checks examine run_checks
    """,
}


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_discovery_and_names_import_no_torch() -> None:
    code = """
import sys, lot
lot.registry().names("attention"), lot.Component, lot.option, lot.hookimpl, lot.LotError, lot.__version__
print(sorted({"torch", "cattrs", "numpy", "rich"} & set(sys.modules)))
"""
    assert python(code) == "[]"


@pytest.mark.parametrize("folder", ["options", "plugins", "config"])
def test_what_lists_and_configures_components_imports_no_torch(folder: str) -> None:
    names = [f"lot.{folder}.{path.stem}" for path in (Path(lot.__file__).parent / folder).glob("[a-z]*.py")]
    assert python(f"import sys, {', '.join(names)}; print('torch' in sys.modules)") == "False"


def test_importing_the_package_imports_nothing_of_it() -> None:
    assert python("import sys, lot; print([name for name in sys.modules if name.startswith('lot.')])") == "[]"


@pytest.mark.parametrize("module", SURFACE)
def test_the_surface_is_the_listed_one(module: str) -> None:
    assert sorted(public(module)) == sorted(SURFACE[module].split())


def test_the_package_of_the_contracts_gives_every_public_name_of_its_modules() -> None:
    package = importlib.import_module("lot.contracts")
    modules = Path(str(package.__file__)).parent.glob("[a-z]*.py")
    names = [name for module in modules for name in public(f"lot.contracts.{module.stem}")]
    assert sorted(names) == sorted(package.__all__)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "optimizer"])  # an optimizer is one of torch
def test_the_contract_of_a_kind_is_in_the_module_of_its_name(kind: str) -> None:
    assert kind in [name.lower() for name in public(f"lot.contracts.{kind}")]


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in SURFACE.items() for n in names.split()])
def test_every_public_name_is_documented(module: str, name: str) -> None:
    if name == "__version__":
        return
    value = getattr(importlib.import_module(module), name)
    if getattr(value, "__module__", "").startswith("lot.") and (inspect.isclass(value) or inspect.isroutine(value)):
        assert inspect.getdoc(value), name
    else:
        assert name in documented_constants(), f"{name} has no text below it"


def public(module: str) -> list[str]:
    """The public names of a module: those of its `__all__`, or those that it defines itself."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__all__"):
        return list(loaded.__all__)
    tree = ast.parse(Path(str(loaded.__file__)).read_text(encoding="utf-8"))
    return [name for node in tree.body for name in defined(node) if not name.startswith("_")]


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module defines; those that it imports are others'."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def documented_constants() -> set[str]:
    """Names in the core that are assigned at the top of a module, with a text right below."""
    found: set[str] = set()
    for path in Path(lot.__file__).parent.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, below in zip(body, body[1:], strict=False):
            if (
                isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found.update(defined(node))
    return found


def test_types_and_names_agree() -> None:
    """What type checkers see (the imports under TYPE_CHECKING) is what an attribute access finds."""
    tree = ast.parse(Path(lot.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name: f"lot.{module}" for name, module in lot._MODULE_OF.items()} == seen


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lot' has no attribute 'nothing'"):
        lot.nothing  # noqa: B018


def test_names_are_listed() -> None:
    assert set(lot.__all__) <= set(dir(lot))
