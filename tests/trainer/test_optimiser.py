"""Muon: what its steps are, and what it leaves to Adam."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from trainer.systems.registry import parse_config
from trainer.systems.uvnet.network import make_network
from trainer.training.config import ScheduleConfig
from trainer.training.optimisers import MOMENTUM, RMS, Muon, as_matrix, make_optimiser, orthogonal, root_of_inverse
from trainer.training.system import Optimiser


@pytest.mark.parametrize("shape", [(24, 90), (90, 24), (32, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonal_keeps_directions_and_evens_out_singular_values(shape, dtype):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    values = torch.linspace(1, 0.1, min(shape), dtype=torch.float64)
    found = orthogonal((left * values @ right).to(dtype)).double()
    inside = left.mT @ found @ right.mT  # diagonal where the directions are kept
    assert found.shape == shape
    assert (inside - torch.diag(inside.diagonal())).abs().max() < (0.1 if dtype == torch.bfloat16 else 1e-4)
    assert inside.diagonal().min() > 0.6 and inside.diagonal().max() < 1.3


@pytest.mark.parametrize("decades", [0, 2, 5])
def test_gram_matrices_give_the_same_step_whatever_the_spectrum(decades):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(40, 360, dtype=torch.float64), full_matrices=False)
    matrix = left * torch.logspace(0, -decades, 40, dtype=torch.float64) @ right
    matrix[3] = 0.0  # a filter without gradient
    single = matrix.float()
    found, expected = root_of_inverse(single @ single.T) @ single, orthogonal(matrix)
    assert float((found - expected).norm() / expected.norm()) < 1e-3
    assert float(found[3].abs().max()) < 1e-6


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (64, 6, 1, 1), (40, 2, 3, 3)])
def test_a_step_does_not_depend_on_the_memory_layout(shape):
    torch.manual_seed(0)
    start, gradient, stepped = torch.randn(shape), torch.randn(shape), []
    layouts = (torch.contiguous_format, torch.channels_last)
    for layout, of_gradient in itertools.product(layouts, layouts):
        kernel = nn.Parameter(start.clone(memory_format=layout))
        kernel.grad = gradient.clone(memory_format=of_gradient)
        assert as_matrix(kernel, layout).data_ptr() == kernel.data_ptr()
        Muon([kernel], [], lr=0.1, betas=(0.9, 0.999), dtype=torch.float32).step()
        assert kernel.is_contiguous(memory_format=layout)
        stepped.append(kernel.detach())
    for other in stepped[1:]:
        torch.testing.assert_close(stepped[0], other, rtol=1e-4, atol=1e-6)


def test_a_step_of_muon_is_of_the_size_of_one_of_adam_and_scale_free():
    torch.manual_seed(0)
    kernel, gradient = nn.Parameter(torch.zeros(8, 4, 3, 3)), torch.randn(8, 4, 3, 3)
    steps = []
    for scale in (1.0, 1e-6):
        kernel.data.zero_()
        kernel.grad = scale * gradient
        Muon([kernel], [], lr=0.01, betas=(0.9, 0.999), dtype=torch.float32).step()
        steps.append(kernel.detach().clone())
    torch.testing.assert_close(steps[0], steps[1])
    expected = orthogonal((gradient * (1 - MOMENTUM**2)).flatten(1)).view_as(gradient) * RMS * 6  # sqrt(36)
    torch.testing.assert_close(steps[0], -0.01 * expected)
    assert 0.1 < float(steps[0].square().mean().sqrt()) / 0.01 < 0.3


def test_biases_normalisation_and_the_last_layer_step_by_adam():
    raw = {"levels": 2, "initial_features": 6, "filter_sizes": [3, 3, 1], "batch_norm": True}
    network = make_network(parse_config({"network": raw}, "test").network, 0)
    twin = copy.deepcopy(network)
    schedule = ScheduleConfig(optimiser="muon", lr=(1e-3, 1e-4))
    muon = make_optimiser([network], Optimiser(("network",), schedule, by_adam=("last.",)), "32-true")
    adam = make_optimiser([twin], Optimiser(("network",), ScheduleConfig(lr=schedule.lr)), "32-true")
    for _ in range(2):
        for p, q in zip(network.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        muon.step()
        adam.step()
    pairs = zip(network.named_parameters(), twin.parameters(), strict=True)
    alike = {name: torch.allclose(p, q, rtol=1e-4, atol=1e-7) for (name, p), q in pairs}
    by_adam = {name for name, p in network.named_parameters() if p.dim() < 4 or name == "last.weight"}
    assert {name for name, same in alike.items() if same} == by_adam and len(by_adam) < len(alike)
