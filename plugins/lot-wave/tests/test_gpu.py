"""Every form on a GPU equals the same on the CPU, in values and gradients; skipped where there is none."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lot import Context
from lot_wave.ops.coherence import norm_drift, phase_variance
from lot_wave.wave_native import WaveNative

DEVICE = "cuda"
FORMS = [
    *(
        ("interference", {"evolution": evolution, "normalize": normalize})
        for evolution in ("pairwise", "evolved")
        for normalize in ("row", "energy", "softmax")
    ),
    *(
        ("pure_wave", {"kernel": kernel, "kernel_on": on})
        for kernel in ("elu_plus_one", "sigmoid", "exp")
        for on in ("features", "scores")
    ),
]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.mark.parametrize(("name", "options"), FORMS, ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_attention(make, close, name, options, padded):
    here = getattr(make, name)(make.dims(max_len=300), **options)
    there = copy.deepcopy(here).to(DEVICE)
    padding = None
    if padded:
        padding = torch.zeros(2, 290, dtype=torch.bool)
        padding[0, :100] = True
        padding[1, 250:] = True
    upstream = make.normal(2, 290, 16)
    if padding is not None:
        upstream[padding] = 0.0
    x = make.normal(2, 290, 16)
    found = []
    for module, device in ((here, "cpu"), (there, DEVICE)):
        leaf = x.to(device).requires_grad_()
        y, _ = module(leaf, Context(start=2, padding=None if padding is None else padding.to(device)))
        gradients = torch.autograd.grad(y, [leaf, *module.parameters()], upstream.to(device))
        found.append([y, *gradients])
    for ours, theirs in zip(found[1], found[0], strict=True):
        close(ours.cpu(), theirs, 1e-8)


@pytest.mark.parametrize(("name", "options"), FORMS, ids=str)
@torch.no_grad()
def test_decoding(make, close, name, options):
    module = getattr(make, name)(**options).to(DEVICE)
    x = make.normal(2, 20, 16).to(DEVICE)
    expected, _ = module(x, Context())
    cache = module.init_cache(2, DEVICE, torch.float64)
    y, cache = module.prefill(x[:, :7], Context(), cache)
    pieces = [y]
    for t in range(7, 20):
        y, cache = module.decode(x[:, t : t + 1], Context(start=t), cache)
        pieces.append(y)
    close(torch.cat(pieces, dim=1).cpu(), expected.cpu(), 1e-10)


def test_embedding_and_loss(make, close):
    here = make.packets(anneal_steps=10, learn_amplitudes=True).double()
    there = copy.deepcopy(here).to(DEVICE)
    ids, ctx = make.ids(11, 2, 30), Context(torch.tensor(4))
    close(there(ids.to(DEVICE), ctx)[0].cpu(), here(ids, ctx)[0], 1e-10)
    hidden = make.normal(3, 2, 11, 8)
    for variance in ("circular", "angle"):
        close(phase_variance(hidden.to(DEVICE), 4, variance).cpu(), phase_variance(hidden, 4, variance), 1e-10)
    close(norm_drift(hidden.to(DEVICE)).cpu(), norm_drift(hidden), 1e-12)


@pytest.mark.parametrize("foreach", [None, False])
@pytest.mark.parametrize("rank", [None, 3])
def test_optimizer(make, close, foreach, rank):
    start, gradients = make.normal(40, 30), [make.normal(40, 30) for _ in range(4)]
    found = []
    for device in ("cpu", DEVICE):
        p = nn.Parameter(start.clone().to(device))
        optimizer = WaveNative([p], rank=rank, refresh=2, weight_decay=0.01, foreach=foreach)
        for g in gradients:
            p.grad = g.to(device)
            optimizer.step()
        found.append(p.detach().cpu())
    close(found[1], found[0], 1e-8)
