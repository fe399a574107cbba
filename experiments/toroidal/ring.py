"""Train a decoder whose sequences are spread over the processes of a ring, each holding a part.

torchrun --nproc-per-node 2 experiments/toroidal/ring.py --seq-len 1024 --steps 100
"""

from __future__ import annotations

import argparse
import atexit

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

import lot
from lot.compose import compose
from lot.team import leave
from lot_toroidal.ring_attention import join, shard


def main() -> None:
    """Train, and print the mean loss of the whole sequences from time to time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seq-len", type=int, default=1024, help="tokens of a sequence, over all processes together")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=4, help="sequences; every process works on all of them")
    parser.add_argument("--lr", type=float, default=1e-3)
    options = parser.parse_args()

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    atexit.register(leave)
    device = torch.device("cuda", dist.get_rank() % torch.cuda.device_count()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    config = {
        "task": {"name": "periodic", "seq_len": options.seq_len},
        "model": {"width": 128, "heads": 4, "layers": 2},
        "attn": {"name": "toroidal_ring"},
    }
    parts = compose(lot.load_config(config))
    model = parts.model.to(device)
    join(model)
    # Each process has the gradient of its own positions: their mean is that of the whole sequence.
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=options.lr)
    for step in range(1, options.steps + 1):
        batch = parts.task.batch("train", step, options.batch_size, device)
        (inputs, start), (targets, _) = shard(batch.inputs), shard(batch.targets)
        logits = parallel(inputs, lot.Context(start=start)).logits
        # Over all positions scored anywhere, since these need not be spread evenly.
        scored = (batch.targets != -100).sum() / dist.get_world_size()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / scored
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == options.steps:
            report(step, loss.detach())


def report(step: int, loss: Tensor) -> None:
    """Print the mean of `loss` over the processes."""
    dist.all_reduce(loss)
    if dist.get_rank() == 0:
        print(f"step {step}  loss {float(loss) / dist.get_world_size():.4f}", flush=True)


if __name__ == "__main__":
    main()
