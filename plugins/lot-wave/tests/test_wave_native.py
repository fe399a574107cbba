"""The wave-native optimizer and its projections."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lot_wave.config import WaveNativeConfig, WavePacketConfig
from lot_wave.ops.subspace import full_subspaces, project, refine_subspaces, start_basis
from lot_wave.wave_native import WaveNative, wave_native
from lot_wave.wave_packet import WavePacket


def spectrum(make, m: int, n: int, decay: float = 0.7, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A random matrix (m, n) with singular values 1, decay, decay^2 ..."""
    k = min(m, n)
    left = torch.linalg.qr(make.normal(m, k)).Q
    right = torch.linalg.qr(make.normal(n, k)).Q
    return (left * decay ** torch.arange(k).double() @ right.mT).to(dtype)


def test_the_full_projection_of_a_square_matrix_is_the_identity(make, close):
    """So the published optimizer is plain momentum there."""
    weight, g = make.normal(24, 24), make.normal(24, 24)
    close(project(g, *full_subspaces(weight)), g, 1e-12)


def test_published_and_plain_momentum_agree_on_square_matrices_only(make):
    for shape, equal in (((12, 12), True), ((20, 12), False), ((12, 20), False)):
        start, gradients = make.normal(*shape), [make.normal(*shape) for _ in range(4)]
        found = []
        for coherence_weight in (1.0, 0.0):
            p = nn.Parameter(start.clone())
            optimizer = WaveNative([p], lr=0.1, rank=None, coherence_weight=coherence_weight)
            for g in gradients:
                p.grad = g.clone()
                optimizer.step()
            found.append(p.detach())
        assert (float((found[0] - found[1]).abs().max()) < 1e-12) == equal


def test_a_rank_beyond_the_shorter_side_projects_as_the_full_svd_does(make, close):
    for shape in ((9, 6), (6, 9)):
        start, gradients = make.normal(*shape), [make.normal(*shape) for _ in range(3)]
        found = []
        for rank in (7, None):
            p = nn.Parameter(start.clone())
            optimizer = WaveNative([p], lr=0.1, rank=rank, refresh=1)
            for g in gradients:
                p.grad = g.clone()
                optimizer.step()
            found.append(p)
        close(found[0], found[1], 1e-10)


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (32, 32)])
def test_the_tracked_projection_is_an_orthogonal_projector(make, close, shape):
    weight = make.normal(*shape).float()
    basis = start_basis(weight, 6, make.generator)
    left, right, _ = refine_subspaces(weight, basis, 6)
    assert left.shape == (shape[0], 6)
    assert right.shape == (shape[1], 6)
    g, h = make.normal(*shape).float(), make.normal(*shape).float()
    once = project(g, left, right)
    close(project(once, left, right), once, 1e-5)  # idempotent
    inner = (once * h).sum() - (g * project(h, left, right)).sum()
    assert abs(float(inner)) < 1e-5 * float(g.norm() * h.norm())  # symmetric
    for side in (left, right):
        close(side.mT @ side, torch.eye(6), 1e-5)


def test_tracking_finds_the_leading_subspaces_and_follows_them(make, close):
    weight = spectrum(make, 50, 40)
    basis = start_basis(weight, 5, make.generator)
    drift = 0.01 * spectrum(make, 50, 40)
    for _ in range(10):
        weight = weight + drift
        left, right, basis = refine_subspaces(weight, basis, 5)
    U, _, V = torch.linalg.svd(weight, full_matrices=False)
    close(left @ left.mT, U[:, :5] @ U[:, :5].mT, 1e-6)
    close(right @ right.mT, V[:5].mT @ V[:5], 1e-6)


def test_directions_that_a_matrix_lacks_are_left_out(make, close):
    weight = torch.outer(make.normal(20), make.normal(15)).float()
    left, right, _ = refine_subspaces(weight, start_basis(weight, 4, make.generator), 4)
    close(left.mT @ left, torch.diag(torch.tensor([1.0, 0, 0, 0])), 1e-5)
    zero = torch.zeros(6, 5)
    left, right, _ = refine_subspaces(zero, start_basis(zero, 2, make.generator), 2)
    assert float(left.abs().max()) == float(right.abs().max()) == 0.0


def make_parameters(make, dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(0.5 * make.normal(*shape).to(dtype)) for shape in ((9, 6), (6, 9), (7, 7), (5,), (3, 4, 2))]


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("maximize", [False, True])
def test_foreach_equals_the_formulas_one_by_one(make, close, rank, maximize):
    first = make_parameters(make)
    second = [nn.Parameter(p.detach().clone()) for p in first]
    optimizers = [
        WaveNative(ps, lr=0.05, rank=rank, refresh=2, weight_decay=0.1, maximize=maximize, foreach=foreach)
        for ps, foreach in ((first, True), (second, False))
    ]
    for _ in range(5):
        for p, q in zip(first, second, strict=True):
            p.grad = make.normal(*p.shape)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(first, second, strict=True):
        close(p, q, 1e-9)


def test_one_step_is_the_stated_equation(make, close):
    p = nn.Parameter(spectrum(make, 8, 6))
    start, g = p.detach().clone(), make.normal(8, 6)
    p.grad = g.clone()
    optimizer = WaveNative([p], lr=0.1, damping=0.2, coherence_weight=0.6, rank=None, weight_decay=0.5)
    velocity = torch.zeros_like(g)
    for _ in range(2):
        U, _, Vh = torch.linalg.svd(start, full_matrices=False)
        projected = U @ U.mT @ g @ Vh.mT @ Vh
        velocity = 0.8 * velocity - 0.1 * (0.6 * projected + 0.4 * g)
        start = (1 - 0.1 * 0.5) * start + velocity
        optimizer.step()
        close(p, start, 1e-12)


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_it_converges_on_a_quadratic(make, rank, damping):
    target = make.normal(10, 8)
    p = nn.Parameter(make.normal(10, 8))
    optimizer = WaveNative([p], lr=0.2 * damping, damping=damping, rank=rank, refresh=5)
    for _ in range(400):
        optimizer.zero_grad()
        (0.5 * (p - target).square().sum()).backward()
        optimizer.step()
    assert float((p - target).detach().abs().max()) < 1e-4


def test_it_trains_a_small_model(make):
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    x = make.normal(64, 6)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    optimizer = wave_native(WaveNativeConfig(lr=0.05, rank=4, refresh=10), model)
    losses = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resuming_from_a_state_dict_changes_no_bit(make, rank, dtype):
    # Wider than rank and oversampling together, so that where the iteration goes on from matters.
    shapes = [(60, 40), (40, 60), (5,)]
    start = [make.normal(*shape).to(dtype) for shape in shapes]
    gradients = [[make.normal(*shape).to(dtype) for shape in shapes] for _ in range(6)]

    def run(ps, optimizer, steps):
        for step in steps:
            for p, g in zip(ps, gradients[step], strict=True):
                p.grad = g.clone()
            optimizer.step()

    def fresh(values):
        ps = [nn.Parameter(v.clone()) for v in values]
        return ps, WaveNative(ps, lr=0.1, rank=rank, refresh=3)

    whole, optimizer = fresh(start)
    run(whole, optimizer, range(6))
    half, first = fresh(start)
    run(half, first, range(4))
    rest, second = fresh([p.detach() for p in half])
    second.load_state_dict(first.state_dict())
    run(rest, second, range(4, 6))
    for p, q in zip(whole, rest, strict=True):
        assert torch.equal(p, q)


def test_every_subspace_is_renewed_in_turn_once_in_refresh_steps(make):
    # Wider than rank and oversampling together, so that a renewal shows.
    ps = [nn.Parameter(make.normal(40, 30)) for _ in range(3)]
    optimizer = WaveNative(ps, lr=0.1, rank=2, refresh=3)
    renewed, before = [[] for _ in ps], [None] * len(ps)
    for step in range(10):
        for p in ps:
            p.grad = make.normal(40, 30)
        optimizer.step()
        for index, p in enumerate(ps):
            now = optimizer.state[p]["left"].clone()
            if before[index] is not None and not torch.equal(now, before[index]):
                renewed[index].append(step)
            before[index] = now
    assert renewed == [[3, 6, 9], [2, 5, 8], [1, 4, 7]]


def test_closure_missing_gradients_and_groups(make):
    p, q = nn.Parameter(make.normal(4, 4)), nn.Parameter(make.normal(4, 4))
    before = q.detach().clone()
    optimizer = WaveNative([{"params": [p], "lr": 0.5}, {"params": [q]}], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    expected = float(p.detach().square().sum())
    assert float(optimizer.step(closure).detach()) == pytest.approx(expected)
    assert torch.equal(q, before)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -1.0},
        {"damping": 0.0},
        {"damping": 1.5},
        {"coherence_weight": 2.0},
        {"rank": 0},
        {"rank": 2.5},
        {"refresh": 0},
        {"weight_decay": float("nan")},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(make, options):
    with pytest.raises(ValueError, match=f"WaveNative: .*{next(iter(options))}"):
        WaveNative([nn.Parameter(make.normal(2, 2))], **{"lr": 0.1, **options})


def test_complex_parameters_and_sparse_gradients_are_refused(make):
    with pytest.raises(ValueError, match="expected real parameters"):
        WaveNative([nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))])
    p = nn.Parameter(make.normal(3, 2))
    p.grad = torch.zeros(3, 2, dtype=torch.float64).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        WaveNative([p]).step()


def test_the_configuration_reaches_the_optimizer():
    config = WaveNativeConfig(
        lr=0.3, damping=0.2, coherence_weight=0.4, rank=3, refresh=7, weight_decay=0.05, foreach=False
    )
    (matrices, vectors) = wave_native(config, nn.Linear(6, 5)).param_groups
    for name in ("lr", "damping", "coherence_weight", "rank", "refresh", "foreach"):
        assert matrices[name] == vectors[name] == getattr(config, name)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.05, 0.0)


def test_groups_follow_what_a_parameter_means(make):
    model = nn.ModuleDict(
        {
            "waves": WavePacket(WavePacketConfig(learn_amplitudes=True, anneal_steps=1), make.dims()),
            "linear": nn.Linear(16, 8),
            "norm": nn.LayerNorm(8),
        }
    )
    optimizer = wave_native(WaveNativeConfig(), model)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [
        (group["project"], group["weight_decay"] > 0, sorted(names[id(p)] for p in group["params"]))
        for group in optimizer.param_groups
    ]
    assert groups == [
        (True, True, ["linear.weight", "waves.project.weight"]),
        (False, True, ["waves.standard.weight"]),
        (False, False, ["linear.bias", "norm.bias", "norm.weight", "waves.log_amplitude", "waves.phase"]),
    ]


@pytest.mark.parametrize("foreach", [False, True])
def test_the_published_optimizer_equals_its_formula(make, close, foreach):
    """g <- g + weight_decay theta for every parameter, then the projection of every 2-D one, then damped momentum."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.linear, self.norm = nn.Embedding(7, 4), nn.Linear(4, 6), nn.LayerNorm(6)

        def forward(self, ids):
            return self.norm(self.linear(self.table(ids)))

    lr, gamma, c, decay = 0.05, 0.2, 0.3, 0.1
    model = make.perturbed(Model())
    config = WaveNativeConfig(
        lr=lr,
        damping=gamma,
        coherence_weight=c,
        rank=None,
        weight_decay=decay,
        decay="l2",
        project="all",
        foreach=foreach,
    )
    optimizer = wave_native(config, model)
    theta = [p.detach().clone().requires_grad_() for p in model.parameters()]
    velocity = [torch.zeros_like(p) for p in theta]
    names = [name for name, _ in model.named_parameters()]
    ids, target = make.ids(7, 5), make.normal(5, 6)
    for _ in range(5):
        optimizer.zero_grad()
        (model(ids) - target).square().sum().backward()
        optimizer.step()
        y = torch.func.functional_call(model, dict(zip(names, theta, strict=True)), (ids,))
        gradients = torch.autograd.grad((y - target).square().sum(), theta)
        for i, (p, g) in enumerate(zip(theta, gradients, strict=True)):
            g = g + decay * p.detach()
            if p.dim() == 2:
                U, _, Vt = torch.linalg.svd(p.detach(), full_matrices=False)
                g = c * U @ U.T @ g @ Vt.T @ Vt + (1 - c) * g
            velocity[i] = (1 - gamma) * velocity[i] - lr * g
            theta[i] = (p.detach() + velocity[i]).requires_grad_()
    for name, found, expected in zip(names, model.parameters(), theta, strict=True):
        assert found.shape == expected.shape, name
        close(found, expected, 1e-10)


@pytest.mark.parametrize("foreach", [False, True])
def test_l2_decay_pulls_towards_zero_while_maximizing_too(foreach):
    p = nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))
    p.grad = torch.tensor([1.0, 0.5], dtype=torch.float64)
    optimizer = WaveNative([p], lr=0.1, weight_decay=0.2, decoupled_weight_decay=False, maximize=True, foreach=foreach)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([2.0 + 0.1 * (1 - 0.4), -3.0 + 0.1 * (0.5 + 0.6)]).double())
