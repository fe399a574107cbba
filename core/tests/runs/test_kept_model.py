"""What a run keeps of the files of its model: read as it was written, refused when damaged, and the files found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import attrs
import pytest
from toy import toy_config

from lot.config.schema import Chosen, Config
from lot.errors import BadInput
from lot.options.declare import option
from lot.plugins.component import Component
from lot.plugins.sizes import Sizes
from lot.runs.kept_model import from_files, kept_files, read_model, save_model


@attrs.frozen(kw_only=True)
class Filed:
    """A model whose width is in a file."""

    path: str = option(help="the file")
    width: int | None = option(None, ge=1, help="its content, in place of it")
    dropout: float = option(0.0, help="what no file says")

    def without_files(self) -> Filed:
        return attrs.evolve(self, width=self._width())

    def sizes(self) -> Sizes:
        return Sizes(width=self._width(), heads=1, layers=1)

    def _width(self) -> int:
        if self.width is not None:
            return self.width
        try:
            return int(Path(self.path).read_text())
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read ({error.strerror})", where="path") from None


COMPONENT = Component(name="filed", summary="A file.", factory="nowhere:Nothing", config=Filed, kind="model")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run on that model, whose file is `size` in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("size").write_text("16")
    chosen = Chosen(name="filed", component=COMPONENT, options=Filed(path="size", dropout=0.5))
    return attrs.evolve(toy_config(), model=chosen)


def test_what_is_kept_is_what_is_read(config: Config, tmp_path: Path) -> None:
    kept = kept_files(config.model, "a digest")
    assert kept is not None
    assert kept.options == {"width": 16}
    assert kept.places == {"path": str(tmp_path / "size")}
    save_model(tmp_path, kept)
    assert read_model(tmp_path) == kept
    assert read_model(tmp_path / "elsewhere") is None
    Path("size").unlink()
    model = attrs.evolve(config.model, kept=kept)
    assert model.sizes().width == 16
    assert model.used == Filed(path="size", width=16, dropout=0.5)
    assert model.table() == config.model.table(), "what is recorded is what was asked for"
    assert kept_files(model, "another digest") == kept, "a run that goes on keeps what it was given"


def test_a_model_without_files_keeps_nothing(config: Config) -> None:
    assert kept_files(toy_config().model, None) is None
    alone = attrs.evolve(config.model, options=Filed(path="nowhere", width=3))
    assert kept_files(alone, None) is None


def test_files_are_found_where_the_options_say_or_where_they_were(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_files(config.model, "a digest")
    assert kept is not None
    given = attrs.evolve(config, model=attrs.evolve(config.model, kept=kept))
    Path("size").write_text("32")
    assert from_files(given, kept).sizes.width == 32
    Path("away").mkdir()
    monkeypatch.chdir("away")
    assert from_files(given, kept).sizes.width == 32
    Path(kept.places["path"]).unlink()
    with pytest.raises(
        BadInput, match=r"model\.path: what the model filed is made from is not here: /.*/size \(digest a digest\)"
    ):
        from_files(given, kept)


@pytest.mark.parametrize("content", ["", "3", "[]", "{}", '{"name": 3, "options": {}, "places": {}, "origin": null}'])
def test_what_was_never_kept_is_refused(tmp_path: Path, content: str) -> None:
    from lot.storage.assets import OF_MODEL, save_assets

    save_assets(tmp_path, {"options.json": content.encode()}, OF_MODEL)
    with pytest.raises(BadInput, match=r"model/options\.json: damaged"):
        read_model(tmp_path)
    manifest = tmp_path / "model" / "MANIFEST.json"
    manifest.write_text(json.dumps({"format": 1, "files": {"../options.json": {}}}))
    with pytest.raises(BadInput, match=r"MANIFEST\.json: damaged"):
        read_model(tmp_path)
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "model").write_text("a file")
    with pytest.raises(BadInput, match=r"model: damaged \(it is no folder\)"):
        read_model(tmp_path)
