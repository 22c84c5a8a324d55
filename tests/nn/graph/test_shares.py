"""The losses of several processes add up to the loss of the batch, and so do their gradients."""

import pytest
import torch

from glta.nn.graph.losses import everything
from glta.nn.graph.sampling import sample_epoch
from glta.training.devices import Devices
from glta.training.seeds import epoch_rng
from tests.training.two_processes import GRAPH, MODELS


def parts_and_gradient(name, size, share):
    """Compute loss and terms of the first triples of an epoch, and the gradient of all weights."""
    batch = tuple(torch.from_numpy(ids[:size]) for ids in sample_epoch(GRAPH, epoch_rng(0, 0)))
    model = MODELS[name]()
    loss, parts = model.loss(batch, torch.Generator().manual_seed(0), share)
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return torch.stack([loss, *parts.values()]).detach(), gradient


@pytest.mark.parametrize("num_processes", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 50])  # with one triple some processes have nothing to do
@pytest.mark.parametrize("name", MODELS)
def test_shares_add_up_to_the_batch(name, size, num_processes):
    whole = parts_and_gradient(name, size, everything)
    assert whole[0].isfinite().all() and whole[1].abs().max() > 1e-4
    shares = [
        parts_and_gradient(name, size, Devices(torch.device("cpu"), rank, num_processes).share)
        for rank in range(num_processes)
    ]
    for ours, expected in zip(map(sum, zip(*shares, strict=True)), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    if size == 50:  # each process does a part of the work
        assert all((values < 0.9 * whole[0]).all() for values, _ in shares)
