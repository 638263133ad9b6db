"""UV-net's shapes and size, derived here without the code under test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from renderer.errors import SpecError
from trainer.bench.network import forward_flop
from trainer.systems.registry import load_config
from trainer.systems.uvnet.config import NetworkConfig
from trainer.systems.uvnet.network import UVNet, feature_counts, make_network
from trainer.training.checks import parameter_count

JOBSPECS = Path(__file__).resolve().parents[2] / "jobspecs"
TINY = NetworkConfig(levels=3, initial_features=4, filter_sizes=(3, 3, 3, 1))
DOWN, UP = (32, 56, 98, 172, 300, 525), (40, 70, 122, 215, 375, 656)  # Ronkainen 2017, rounded half to even
SIZES = (5, 5, 5, 5, 5, 3)


def layers_of_the_thesis() -> list[tuple[int, int, int, int]]:
    """Filter size, features in, features out, and side of the map that the filter visits, for 128 x 128 pixels."""
    layers = []
    for level, size in enumerate(SIZES):
        side, skip = 128 >> level, 3 if level == 0 else DOWN[level - 1]
        below = 525 if level == 5 else UP[level + 1] + DOWN[level]  # concatenated after the level below
        layers += [(size, skip, DOWN[level], side), (size, DOWN[level], DOWN[level], side)]
        layers += [(size, below, UP[level], side // 2)]  # transpose convolution: it visits its input
        layers += [(size, UP[level], UP[level], side)] * 2
    return [*layers, (5, 40 + 3, 40, 128), (5, 40, 40, 128), (5, 40, 4, 128)]


def test_feature_counts_are_those_of_the_thesis():
    assert feature_counts(NetworkConfig()) == (list(DOWN), list(UP))


def test_the_network_has_the_parameters_of_the_thesis():
    assert sum(size * size * i * o + o for size, i, o, _ in layers_of_the_thesis()) == 43_749_632
    with torch.device("meta"):
        assert parameter_count(UVNet(NetworkConfig())) == 43_749_632


def test_a_forward_pass_takes_the_operations_of_the_thesis():
    multiply_adds = sum(size * size * i * o * side * side for size, i, o, side in layers_of_the_thesis())
    assert forward_flop(NetworkConfig(), 128) == 2 * multiply_adds
    assert 2 * multiply_adds / 1e9 == pytest.approx(17.857, abs=0.0005)


@pytest.mark.parametrize("spec", ["train_uvnet", "train_overfit"])
def test_the_full_specs_train_the_network_of_the_thesis(spec):
    assert load_config(JOBSPECS / f"{spec}.yaml").network == NetworkConfig()


def test_weights_of_the_small_specs_keep_their_shapes():
    with torch.device("meta"):
        network = UVNet(load_config(JOBSPECS / "train_uvnet_small.yaml").network)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert parameter_count(network) == 4_738_462 and len(shapes) == 128
    assert shapes["levels.up.0.weight"] == (30, 30 + 48, 3, 3)  # squares of 4 x 4 pixels are concatenated first
    assert shapes["levels.inner.raise_.weight"] == (120, 60, 3, 3)
    assert shapes["fine.0.weight"] == (16, 16 + 12, 3, 3) and shapes["last.weight"] == (16, 16, 3, 3)


def test_convolutions_of_a_level_see_only_what_lies_below_it_and_the_last_ones_the_image():
    network = make_network(replace(TINY, levels=1, filter_sizes=(3, 5)), 0)
    joined = []
    network.fine.register_forward_hook(lambda _, inputs, __: joined.append(inputs[0]))
    image = torch.rand(1, 3, 16, 16)
    network(image)
    assert joined[0].shape[1] == 5 + 3 and torch.equal(joined[0][:, 5:], image)
    assert [c.kernel_size for c in network.fine if isinstance(c, nn.Conv2d)] == [(3, 3), (3, 3)]
    assert network.last.kernel_size == (5, 5)


def test_the_middle_is_2_by_2_by_525():
    shapes: list[tuple[int, ...]] = []
    network = make_network(NetworkConfig(), 0)
    level = network.levels
    while level.inner is not None:
        level = level.inner
    level.raise_.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape)))
    with torch.no_grad():
        result = network(torch.zeros(1, 3, 128, 128))
    assert shapes == [(1, 525, 2, 2)] and result.shape == (1, 4, 128, 128)


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (17, 31), (1, 50)])
@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, down="stride"),
        replace(TINY, batch_norm=True),
        replace(TINY, dilation=2),
        replace(TINY, up_factor=0.5, filter_sizes=(5, 3, 1, 3)),
        replace(TINY, patch_size=2, levels=2, filter_sizes=(3, 3, 1)),
        replace(TINY, patch_size=4, fine_patch=2, levels=1, filter_sizes=(3, 1)),
    ],
)
def test_every_variant_takes_any_size(config, size):
    image = torch.rand(2, 3, *size)
    network = make_network(config, 0)
    result = network(image)
    assert result.shape == (2, 4, *size) and result.isfinite().all()
    result.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.dim() > 1)


@pytest.mark.parametrize("fine", [1, 2])
def test_levels_see_patches_and_outlines_pixels(fine):
    network = make_network(replace(TINY, patch_size=4, fine_patch=fine, levels=1, filter_sizes=(1, 1)), 0)
    assert network.levels.down[0].in_channels == 3 * 16 and network.last.out_channels == 4 * fine**2
    image = torch.rand(1, 3, 32, 32)
    result = network(image)
    image[:, :, 9, 21] += 1
    change = (network(image) - result).abs().amax(1)[0]
    near = change[9 // fine * fine :, 21 // fine * fine :][:fine, :fine]
    assert near.max() == change.max()  # most at the pixel itself: the image is there at full resolution
    assert (change[8:12, 20:24] > 0).all()  # through the patch at all of its pixels
    change[8:16, 16:24] = 0  # and perhaps at those that pooling joins with it
    assert not change.any()


def test_weights_are_glorot_uniform_from_the_seed_and_biases_zero():
    one, again, other = make_network(TINY, 1), make_network(TINY, 1), make_network(TINY, 2)
    state = again.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())
    assert any(not torch.equal(v, state[k]) for k, v in other.state_dict().items())
    for module in make_network(NetworkConfig(levels=2, filter_sizes=(5, 5, 1)), 0).modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            fan = (module.in_channels + module.out_channels) * module.kernel_size[0] ** 2
            limit = (6 / fan) ** 0.5
            assert 0.97 * limit < module.weight.abs().max() <= limit
            assert module.bias is not None and not module.bias.any()


def test_nothing_holds_the_output_back_at_the_end():
    result = make_network(TINY, 0)(torch.rand(4, 3, 16, 16))
    assert result.min() < 0


def test_an_image_of_other_channels_is_refused():
    with pytest.raises(SpecError, match="takes"):
        make_network(TINY, 0)(torch.zeros(1, 4, 16, 16))
