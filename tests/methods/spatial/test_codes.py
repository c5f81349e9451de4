import pytest
import torch
from made_spatial import SHAPE, Residual, chain, images, made

from labsupport.core.errors import LabError
from labsupport.methods.spatial import (
    Granularity,
    Mask,
    disabled,
    everything,
    patch_codes,
    patterns,
    savings,
    spatialize,
)

ALL = {2: None, 3: (1, 2), 4: (1, 1)}  # ranges of ones that are tried with real passes


@pytest.mark.parametrize("p", ALL)
@pytest.mark.parametrize("granularity", Granularity)
def test_one_pass_tells_what_a_pass_with_each_mask_saves(p, granularity):
    network, split = spatialize(made(chain), SHAPE), images()
    with disabled(network):
        codes = patch_codes(network, split, p, batch_size=4)
    candidates = patterns(p, ALL[p])
    for name, layer in network.layers.items():
        saved = codes[name].saved(granularity, candidates)
        shape = granularity.shape(layer.ofmap, p)
        assert tuple(saved.shape) == (*shape, len(candidates))
        network.disable()
        network.enable(name)
        draw = torch.Generator().manual_seed(p)
        for _ in range(6):
            chosen = torch.randint(len(candidates), shape, generator=draw)
            layer.set_mask(Mask(p, candidates[chosen]))
            expected = savings(network, split).saved_macs
            assert saved.gather(-1, chosen[..., None]).sum().item() == pytest.approx(expected)


def test_every_pattern_of_a_layer():
    network, split = spatialize(made(Residual), SHAPE), images()
    with disabled(network):
        layer = patch_codes(network, split, 2)["blocks.1.conv2"]
    network.disable()
    network.enable("blocks.1.conv2")
    saved = layer.saved(Granularity.LAYER, patterns(2))[0, 0, 0]
    for code, of_code in zip(patterns(2).tolist(), saved.tolist(), strict=True):
        network.set_masks({"blocks.1.conv2": Mask.uniform(2, code)})
        assert of_code == pytest.approx(savings(network, split).saved_macs)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_what_granularities_save_adds_up(p):
    network, split = spatialize(made(chain), SHAPE), images()
    codes = patch_codes(network, split, p)["0"]
    candidates = patterns(p, (1, 3))
    patch = codes.saved(Granularity.PATCH, candidates)
    sums = {Granularity.FILTER: (1, 2), Granularity.POSITION: (0,), Granularity.LAYER: (0, 1, 2)}
    for granularity, axes in sums.items():
        coarser = codes.saved(granularity, candidates)
        torch.testing.assert_close(patch.sum(axes, keepdim=True), coarser)
    assert (codes.saved(Granularity.LAYER, torch.tensor([everything(p)])) == 0).all()


def test_the_masks_of_earlier_layers_are_in_force():
    network, split = spatialize(made(chain), SHAPE, Mask.uniform(3, 1)), images()
    under = patch_codes(network, split, 2)["3"]
    network.set_masks({"3": Mask.uniform(2, 1)})
    row = savings(network, split).layers.iloc[1]
    saved = under.saved(Granularity.LAYER, torch.tensor([1]))
    assert saved.item() == pytest.approx(row["saved_macs"])
    with disabled(network):
        assert not torch.equal(patch_codes(network, split, 2)["3"].codes, under.codes)


def test_what_cannot_be_is_refused():
    network, split = spatialize(made(chain), SHAPE), images()
    with pytest.raises(LabError, match="patches of 5 x 5"):
        patch_codes(network, split, 5)
    with pytest.raises(LabError, match="no images"):
        patch_codes(network, images(0), 2)
    codes = patch_codes(network, split, 2)["0"]
    for code in (0, 16):
        with pytest.raises(LabError, match="codes outside 1 to 15"):
            codes.saved(Granularity.LAYER, torch.tensor([code]))
