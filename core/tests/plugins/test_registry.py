"""The registry over distributions made by hand: what is found, under which names, and what an unknown name answers."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lot
from lot.errors import BadInput, PluginError
from lot.plugins.catalogue import first_party
from lot.plugins.component import KINDS, Component
from lot.plugins.discovery import normalize
from lot.plugins.hookspecs import HOOKS
from lot.plugins.registry import Registry, registry

HEAD = "from lot import Component, hookimpl\n"


def hook(name: str, *components: str) -> str:
    """Source of one hook that returns components of these names."""
    listed = ", ".join(f"Component(name={each!r}, summary='S.', factory='nowhere:Nothing')" for each in components)
    return f"@hookimpl\ndef {name}():\n    return [{listed}]\n"


class Site:
    """A folder of distributions, seen by registries of its own and by `import`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        name: str,
        code: str = "",
        *,
        version: str = "1.0",
        entries: str = "",
        requires: tuple[str, ...] = (),
        folder: Path | None = None,
    ) -> str:
        """Install distribution `name` whose plugin module has this code; returns the name of that module."""
        module = f"plug_{normalize(name).replace('-', '_')}"
        root = folder or self.folder
        (root / f"{module}.py").write_text(HEAD + textwrap.dedent(code))
        info = root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        (info / "entry_points.txt").write_text(f"[lot]\n{entries or f'main = {module}'}\n")
        return module

    def core(self, version: str = "0.1.0") -> None:
        """Install the core itself, under a version."""
        self.add("lot-core", version=version, entries="core = lot.builtin.plugin")

    def registry(self) -> Registry:
        """A registry of this folder alone."""
        return Registry([str(self.folder)])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield Site(tmp_path)
    for module in [name for name in sys.modules if name.startswith("plug_") and name not in known]:
        del sys.modules[module]


def failure_of(reg: Registry, distribution: str) -> str | None:
    """What is wrong with the only plugin of a distribution."""
    (plugin,) = [plugin for plugin in reg.plugins() if plugin.distribution == distribution]
    return plugin.failure


def message(call: Callable[[], object], kind: type[BadInput] = BadInput) -> str:
    """What the error of a call says."""
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


# What is found


def test_components_know_their_kind_and_distribution(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves") + hook("lot_losses", "calm"))
    reg = site.registry()
    waves = reg.get("attention", "waves")
    assert (waves.kind, waves.distribution, waves.summary) == ("attention", "lot-a", "S.")
    assert reg.get("loss", "calm").kind == "loss"
    assert reg.names("task") == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_working_hook(site: Site, kind: str) -> None:
    site.add("lot-a", hook(HOOKS[kind], "thing"))
    assert site.registry().names(kind) == ["thing"]


def test_order_does_not_depend_on_the_file_system(site: Site) -> None:
    site.add("lot-b", hook("lot_attentions", "zeta", "alpha"))
    site.add("Lot-A", hook("lot_attentions", "middle"))
    reg = site.registry()
    assert reg.names("attention") == ["alpha", "middle", "zeta"]
    assert [plugin.distribution for plugin in reg.plugins()] == ["Lot-A", "lot-b"]


def test_nothing_is_loaded_before_something_is_asked(site: Site) -> None:
    module = site.add("lot-a", hook("lot_attentions", "waves"))
    reg = site.registry()
    assert module not in sys.modules
    reg.names("loss")
    assert module in sys.modules


def test_plugins_are_loaded_once(site: Site) -> None:
    site.add("lot-a", "import itertools\ncount = itertools.count()\n" + hook("lot_attentions", "waves"))
    reg = site.registry()
    assert reg.plugins() is reg.plugins()
    assert registry() is registry()


def test_of_two_installations_the_first_on_the_path_counts(site: Site, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    site.add("lot-a", hook("lot_attentions", "ghost"), version="0.9", folder=older)
    site.add("lot-a", hook("lot_attentions", "waves"), version="2.0")
    reg = Registry([str(site.folder), str(older)])
    assert [(plugin.distribution, plugin.version) for plugin in reg.plugins()] == [("lot-a", "2.0")]
    assert reg.names("attention") == ["waves"]


def test_an_installation_that_hides_a_plugin_hides_it(site: Site, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    site.add("lot-a", hook("lot_attentions", "ghost"), version="0.9", folder=older)
    site.add("lot-a", version="2.0", entries="# no longer a plugin")
    (site.folder / "lot_a-2.0.dist-info" / "entry_points.txt").unlink()
    assert Registry([str(site.folder), str(older)]).plugins() == ()


def test_two_entry_points_of_one_name_both_load(site: Site) -> None:
    first = site.add("lot-a", hook("lot_attentions", "waves"))
    second = site.add("lot-b", hook("lot_attentions", "tides"))
    assert first != second
    assert site.registry().names("attention") == ["tides", "waves"]  # both entry points are called `main`


def test_a_repeated_entry_point_registers_once_and_is_reported(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves"), entries="one = plug_lot_a\ntwo = plug_lot_a")
    reg = site.registry()
    assert reg.get("attention", "waves").name == "waves"
    assert [plugin.failure for plugin in reg.plugins()] == [
        None,
        "repeats the entry point 'one': both name plug_lot_a",
    ]


def test_importing_torch_in_a_plugin_module_is_noticed(site: Site) -> None:
    site.add("lot-a", "import torch\n" + hook("lot_attentions", "slow"))
    site.add("lot-b", hook("lot_attentions", "quick"))
    code = (
        "from lot import Registry\n"
        f"print([plugin.imports_torch for plugin in Registry([{str(site.folder)!r}]).plugins()])"
    )
    (site.folder / "torch.py").write_text("")  # an empty stand-in: importing the real one takes seconds
    done = subprocess.run([sys.executable, "-c", code], cwd=site.folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, False]"


# Names


def test_one_name_twice_is_an_error_only_when_it_is_used(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "lattice", "other"))
    site.add("lot_b", hook("lot_attentions", "lattice"))
    reg = site.registry()
    assert reg.names("attention") == ["lot-a:lattice", "lot_b:lattice", "other"]
    assert reg.get("attention", "other").distribution == "lot-a"
    told = message(lambda: reg.get("attention", "lattice"), PluginError)
    assert told == "attention 'lattice' is ambiguous; choose between lot-a:lattice and lot_b:lattice"
    assert reg.get("attention", "lot-a:lattice").distribution == "lot-a"
    assert reg.get("attention", "LOT-B:lattice").distribution == "lot_b"


def test_every_name_that_is_listed_can_be_got(site: Site) -> None:
    site.core()
    site.add("lot-a", hook("lot_attentions", "lattice", "vanilla") + hook("lot_losses", "lattice"))
    site.add("lot-b", hook("lot_attentions", "lattice"))
    reg = site.registry()
    got = [(kind, reg.get(kind, name)) for kind in KINDS for name in reg.names(kind)]
    assert sorted(map(repr, got)) == sorted(repr((kind, c)) for kind in KINDS for c in reg.components(kind))


def test_one_name_in_two_kinds_is_fine(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves") + hook("lot_losses", "waves"))
    reg = site.registry()
    assert reg.get("attention", "waves").kind == "attention"
    assert reg.get("loss", "waves").kind == "loss"
    assert [found.kind for found in reg.find("waves")] == ["attention", "loss"]


def test_nothing_shadows_a_builtin(site: Site) -> None:
    site.core()
    site.add("aaa", hook("lot_attentions", "vanilla"))
    reg = site.registry()
    assert reg.get("attention", "vanilla").distribution == "lot-core"
    assert reg.get("attention", "aaa:vanilla").distribution == "aaa"
    assert reg.names("attention") == ["aaa:vanilla", "vanilla"]


def test_one_distribution_that_repeats_a_name(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves", "waves"))
    reg = site.registry()
    told = message(lambda: reg.get("attention", "lot-a:waves"), PluginError)
    assert told == "lot-a registers an attention 'waves' twice; its author must rename one"
    assert failure_of(reg, "lot-a") == "registers the attention 'waves' twice"


# Unknown names


def test_a_misspelled_name_answers_with_the_nearest_and_with_what_is_installed(site: Site) -> None:
    site.core()
    site.add("lot-a", hook("lot_attentions", "my_waves"))
    told = message(lambda: site.registry().get("attention", "My-Waves"))
    assert told == "unknown attention 'My-Waves'; did you mean 'my_waves'?\ninstalled: my_waves, vanilla"


def test_a_first_party_name_answers_with_the_pip_command(site: Site) -> None:
    site.core()
    reg = site.registry()
    told = message(lambda: reg.get("attention", "toroidal"))
    assert "pip install lot-toroidal" in told
    assert "installed: vanilla" in told
    assert "'toroidal' (pip install lot-toroidal)" in message(lambda: reg.get("attention", "toroidl"))
    assert "pip install lot-tasks" in message(lambda: reg.get("task", "copy_reverse"))
    assert "pip install lot-wave" in message(lambda: reg.get("attention", "lot-wave:interference"))


def test_a_first_party_package_that_is_too_old_is_upgraded(site: Site) -> None:
    site.add("lot-lattice", hook("lot_attentions", "lattice"), version="0.0.1")
    told = message(lambda: site.registry().get("attention", "phase"))
    assert "lot-lattice 0.0.1 has none" in told
    assert "pip install --upgrade lot-lattice" in told


def test_the_right_name_of_the_wrong_kind(site: Site) -> None:
    site.add("lot-a", hook("lot_losses", "calm"))
    reg = site.registry()
    assert "'calm' is a loss (of lot-a), not an attention" in message(lambda: reg.get("attention", "calm"))
    assert "'lattice' is an attention (of lot-lattice), not a task" in message(lambda: reg.get("task", "lattice"))


def test_an_unknown_distribution(site: Site) -> None:
    site.core()
    told = message(lambda: site.registry().get("attention", "lot-core2:vanilla"))
    assert told.startswith(
        "unknown attention 'lot-core2:vanilla'; no plugin is called 'lot-core2'; did you mean 'vanilla'?"
    )


def test_the_table_of_first_party_components_is_up_to_date() -> None:
    ours = {home for kind in KINDS for home in first_party(kind).values()}
    installed = [item for plugin in Registry().plugins() for item in plugin.components if item.distribution in ours]
    missing = [f"{item.kind} {item.name}" for item in installed if first_party(item.kind).get(item.name) is None]
    assert missing == [], "add them to lot/firstparty.py"


def test_nothing_installed(site: Site) -> None:
    assert message(lambda: site.registry().get("task", "zzz")) == "unknown task 'zzz'; no task is installed"


def test_an_unknown_kind(site: Site) -> None:
    assert "known: attention, embedding" in message(lambda: site.registry().names("atention"))


def test_find_looks_through_all_kinds(site: Site) -> None:
    site.add("lot-a", hook("lot_losses", "calm"))
    told = message(lambda: site.registry().find("clam"))
    assert told == "unknown component 'clam'; did you mean 'calm'?\nlot plugins lists what is installed"


# Broken plugins: each is recorded, the others work, and the error comes when something of the broken one is asked for

BROKEN = {
    "raises": ("raise RuntimeError('no luck\\nmore')", "did not load: RuntimeError: no luck"),
    "exits": ("import sys\nsys.exit(3)", "did not load: SystemExit: 3"),
    "lacks a module": ("import nowhere_at_all", "did not load: ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "syntax": ("def (", "did not load: SyntaxError: invalid syntax"),
    "hook raises": ("@hookimpl\ndef lot_attentions():\n    raise KeyError('x')", "lot_attentions raised KeyError: 'x'"),
    "hook exits": ("@hookimpl\ndef lot_attentions():\n    raise SystemExit", "lot_attentions raised SystemExit"),
    "generator raises": (
        "@hookimpl\ndef lot_attentions():\n    yield 1 / 0",
        "lot_attentions raised ZeroDivisionError: division by zero",
    ),
    "misspelled hook": (
        hook("lot_atention", "broken"),
        "unknown hook 'lot_atention'; did you mean 'lot_attentions'?",
    ),
    "no hookimpl": ("def lot_attentions():\n    return []", "lot_attentions lacks @hookimpl"),
    "no hook": ("x = 1", "registers nothing: it has no @hookimpl function"),
    "arguments": (
        "@hookimpl\ndef lot_attentions(registry):\n    return []",
        "did not load: PluginValidationError: Plugin",
    ),
    "returns none": (
        "@hookimpl\ndef lot_attentions():\n    pass",
        "lot_attentions returned None, expected a list of components",
    ),
    "returns one": (
        "@hookimpl\ndef lot_attentions():\n    return Component(name='a', summary='', factory='a:b')",
        "lot_attentions returned a Component, expected a list of components",
    ),
    "returns strings": (
        "@hookimpl\ndef lot_attentions():\n    return ['lattice']",
        "lot_attentions returned a str among its components",
    ),
    "bad component": (
        "@hookimpl\ndef lot_attentions():\n    return [Component(name='A b', summary='', factory='a:b')]",
        "lot_attentions raised ValueError: component name 'A b'",
    ),
    "uses the registry": (
        "import lot\nlot.registry().names('task')",
        "did not load: PluginError: a plugin asked for the registry while it was being imported",
    ),
}


@pytest.mark.parametrize(("code", "failure"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_breaks_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, code: str, failure: str
) -> None:
    site.add("aaa", hook("lot_attentions", "before"))
    site.add("my-broken", code, version="0.3")
    site.add("zzz", hook("lot_attentions", "after"))
    reg = site.registry()
    monkeypatch.setitem(vars(lot), "registry", lambda: reg)  # for the plugin that asks while it is imported
    assert reg.names("attention") == ["after", "before"]
    told = failure_of(reg, "my-broken")
    assert told is not None
    assert told.startswith(failure)
    assert "\n" not in told
    asked = message(lambda: reg.get("attention", "my-broken:anything"), PluginError)
    assert asked.startswith(f"unknown attention 'my-broken:anything': my-broken 0.3: {failure}")
    assert f"broken: my-broken ({failure}" in message(lambda: reg.get("attention", "anything"))


def test_a_bad_hook_takes_no_other_hook_with_it(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves") + "@hookimpl\ndef lot_losses():\n    raise OSError('gone')\n")
    reg = site.registry()
    assert reg.get("attention", "waves").distribution == "lot-a"
    told = failure_of(reg, "lot-a")
    assert told is not None
    assert told.startswith("lot_losses raised OSError: gone, at ")


def test_a_package_that_forgot_its_entry_point_is_named(site: Site) -> None:
    site.core()
    site.add("my-waves", hook("lot_attentions", "waves"), requires=("lot-core>=0.1",))
    site.add("lot-cli", requires=("lot-core>=0.1",))
    site.add("numbers", requires=("numpy",))
    for name in ("my-waves", "lot-cli", "numbers"):
        (site.folder / f"{name.replace('-', '_')}-1.0.dist-info" / "entry_points.txt").unlink()
    told = message(lambda: site.registry().get("attention", "waves")).splitlines()
    assert told[-1].startswith("my-waves: no entry point of the group 'lot'")
    assert "my-waves" not in message(lambda: site.registry().get("attention", "vanila")), "here the name is misspelled"


def test_a_first_party_component_of_a_broken_package_says_why(site: Site) -> None:
    site.add("lot-lattice", "import nowhere_at_all")
    told = message(lambda: site.registry().get("attention", "lattice"), PluginError)
    assert told.startswith(
        "unknown attention 'lattice': lot-lattice 1.0: "
        "did not load: ModuleNotFoundError: No module named 'nowhere_at_all', at "
    )


def test_an_interrupt_is_not_swallowed(site: Site) -> None:
    site.add("lot-a", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.registry().names("attention")


def test_what_a_plugin_prints_does_not_reach_stdout(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("lot-a", "print('hello')\n" + hook("lot_attentions", "waves"))
    site.registry().names("attention")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\n"


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("lot-core", True),
        ("lot-core>=0.1.0", True),
        ("lot-core>=0.1", True),
        ("lot-core>=0.1.1", False),
        ("lot-core>=0.10", False),
        ("lot-core>=0.1.0.0", True),
        ("lot-core>=0.1.0.1", False),
        ("lot-core>=0.1rc1", True),
        ("lot-core>=9", False),
        ("Lot_Core (>=9)", False),
        ("lot-core<0.1", False),
        ("lot-core~=0.1.0", True),
        ("lot-core[testing]>=0.1,<1", True),
        ("lot-core>=9; extra == 'dev'", True),
        ("lot-core>=9; python_version >= '3'", False),
        ("lot-core-extras>=9", True),
        ("lot-core>=", False),
        ("numpy>=1", True),
    ],
)
def test_a_plugin_that_needs_another_core_is_not_imported(site: Site, requirement: str, fits: bool) -> None:
    site.core("0.1.0")
    module = site.add("lot-a", hook("lot_attentions", "waves"), requires=(requirement,))
    reg = site.registry()
    assert ("waves" in reg.names("attention")) == fits
    assert (module in sys.modules) == fits
    assert (failure_of(reg, "lot-a") is None) == fits


def test_what_a_newer_core_is_asked_for_is_told(site: Site) -> None:
    site.core("0.1.0")
    site.add("lot-a", hook("lot_attentions", "waves"), requires=("lot-core>=9",))
    assert failure_of(site.registry(), "lot-a") == (
        "needs lot-core>=9, but 0.1.0 is installed: pip install 'lot-core>=9'"
    )


def test_unreadable_entry_points(site: Site) -> None:
    site.add("lot-a", entries="this line has no equals sign")
    site.add("lot-b", hook("lot_attentions", "waves"))
    reg = site.registry()
    assert reg.names("attention") == ["waves"]
    told = failure_of(reg, "lot-a")
    assert told is not None
    assert told.startswith("its entry_points.txt cannot be read")


def test_a_plugin_whose_metadata_are_no_utf_8_does_not_vanish(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves"))
    site.add("lot-latin", hook("lot_attentions", "others"))
    metadata = site.folder / "lot_latin-1.0.dist-info" / "METADATA"
    metadata.write_bytes(metadata.read_bytes() + "Author: José\n".encode("latin-1"))
    reg = site.registry()
    assert reg.names("attention") == ["waves"]
    told = failure_of(reg, "lot_latin")
    assert told is not None
    assert told.startswith("its METADATA cannot be read (UnicodeDecodeError")


def test_leftovers_of_other_packages_are_no_concern(site: Site) -> None:
    for name, content in (("a", b"\xff\xfe\x00"), ("b", b"no equals sign"), ("c", b"[lot]\nx = y")):
        info = site.folder / f"{name}-1.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_bytes(content)
    site.add("lot-b", hook("lot_attentions", "waves"))
    assert [plugin.distribution for plugin in site.registry().plugins()] == ["lot-b"]


def test_a_component_whose_code_is_missing_says_whose_it_is(site: Site) -> None:
    site.add("lot-a", hook("lot_attentions", "waves"))
    component: Component = site.registry().get("attention", "waves")
    told = message(component.load, PluginError)
    assert told.startswith("lot-a: attention 'waves': nowhere:Nothing did not load (ModuleNotFoundError")


def test_an_error_of_a_plugin_tells_its_own_file_and_line(site: Site) -> None:
    module = site.add("lot-a", "def broken():\n    return 1 / 0\n\nbroken()\n")
    told = failure_of(site.registry(), "lot-a")
    assert told is not None
    line = (site.folder / f"{module}.py").read_text().split("\n").index("    return 1 / 0") + 1
    assert told.endswith(f"ZeroDivisionError: division by zero, at {site.folder / module}.py:{line}")


def test_a_component_that_does_not_import_tells_its_own_file_and_line(site: Site) -> None:
    (site.folder / "plug_code.py").write_text("x = 1\nraise KeyError('gone')\n")
    component = "[Component(name='waves', summary='S.', factory='plug_code:Waves')]"
    site.add("lot-a", f"@hookimpl\ndef lot_attentions():\n    return {component}\n")
    told = message(lambda: site.registry().get("attention", "waves").load(), PluginError)
    assert f"KeyError: 'gone', at {site.folder / 'plug_code.py'}:2" in told
