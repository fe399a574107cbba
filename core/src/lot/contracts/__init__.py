"""What a component must be once it is built: one module per contract, named as the kind that keeps it.

What several kinds are given or return has a module of its own: `dims`, `context`, `batch`, `output`, `initialization`.
What belongs to one kind alone stands beside it: `Parts` with `Model`, `Split` with `Task`, `Probe` and `Record` with
`Diagnostic`, `Recording` with `Recorder`.

Shapes in all of them: B batch, T positions, D width, H heads, V vocabulary, L layers.
"""

from lot.contracts.attention import Attention, Cache, ablation
from lot.contracts.batch import IGNORED, Batch
from lot.contracts.context import Context
from lot.contracts.diagnostic import Diagnostic, Probe, Record
from lot.contracts.dims import Dims, Positions
from lot.contracts.embedding import Embedding
from lot.contracts.initialization import GeneratorFor, reset_standard
from lot.contracts.kernel import Kernel
from lot.contracts.loss import Loss
from lot.contracts.mlp import MLP
from lot.contracts.model import Model, Parts
from lot.contracts.output import Output
from lot.contracts.recorder import Recorder, Recording
from lot.contracts.task import Split, Task

__all__ = [
    "IGNORED",
    "MLP",
    "Attention",
    "Batch",
    "Cache",
    "Context",
    "Diagnostic",
    "Dims",
    "Embedding",
    "GeneratorFor",
    "Kernel",
    "Loss",
    "Model",
    "Output",
    "Parts",
    "Positions",
    "Probe",
    "Record",
    "Recorder",
    "Recording",
    "Split",
    "Task",
    "ablation",
    "reset_standard",
]
