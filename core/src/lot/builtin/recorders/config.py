"""Options of the core's own recorders, and what each needs of this machine. Imports no torch, nor what they need."""

from __future__ import annotations

import importlib.util
from urllib.parse import urlsplit

import attrs

from lot.errors import BadInput
from lot.options.declare import option


@attrs.frozen(kw_only=True)
class TensorBoardConfig:
    """Options of the TensorBoard recorder."""

    config: bool = option(True, help="begin with the configuration, as text")
    pictures: bool = option(False, help="draw the diagnostics at the end of the run, and add the pictures")


@attrs.frozen(kw_only=True)
class WandbConfig:
    """Options of the Weights & Biases recorder."""

    project: str = option("lot", help="project that the run goes to")
    entity: str | None = option(None, help="user or team that it belongs to; null: the default of the account")
    pictures: bool = option(False, help="draw the diagnostics at the end of the run, and send the pictures")


@attrs.frozen(kw_only=True)
class MLflowConfig:
    """Options of the MLflow recorder."""

    experiment: str = option("lot", help="experiment that the run goes to")
    uri: str | None = option(
        None,
        help="tracking server, database (sqlite:///mlflow.db) or folder; null: MLFLOW_TRACKING_URI, else what MLflow takes",
    )
    pictures: bool = option(False, help="draw the diagnostics at the end of the run, and send the pictures")

    def __attrs_post_init__(self) -> None:
        if self.uri is not None and "@" in urlsplit(self.uri).netloc:
            raise BadInput(
                where="uri",
                expected="an address without a password, for it is recorded with the run",
                got="one with a user",
                fix="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI",
            )


@attrs.frozen(kw_only=True)
class TrackioConfig:
    """Options of the Trackio recorder."""

    project: str = option("lot", help="project that the run goes to")
    space: str | None = option(
        None, help="Hugging Face Space that the run is sent to; null: TRACKIO_SPACE_ID, else a folder of this machine"
    )
    pictures: bool = option(False, help="draw the diagnostics at the end of the run, and send the pictures")


_PACKAGES = {
    TensorBoardConfig: "tensorboardX",
    WandbConfig: "wandb",
    MLflowConfig: "mlflow",
    TrackioConfig: "trackio",
}


def check_packages(config: TensorBoardConfig | WandbConfig | MLflowConfig | TrackioConfig) -> None:
    """Raise BadInput where a package that these options ask for is not installed."""
    name = _PACKAGES[type(config)]
    if importlib.util.find_spec(name) is None:
        raise BadInput(f"the package {name} is not installed", fix=f"pip install 'lot-core[{name}]'")
    if config.pictures and importlib.util.find_spec("matplotlib") is None:
        raise BadInput(
            "pictures are drawn with matplotlib, which is not installed", where="pictures", fix="pip install matplotlib"
        )
