"""Trials from a layer on, against passes through the whole network."""

import pytest
from made_spatial import SHAPE, Residual, chain, images, made, mask_by_chance

from labsupport.methods.spatial import Granularity, greedy_search, spatialize
from labsupport.methods.spatial.reruns import LayerTrials, place_before
from labsupport.methods.spatial.trials import Trials
from labsupport.network.cost import cost

NETS = {"chain": chain, "residual": Residual}


@pytest.mark.parametrize("net", NETS)
def test_a_layer_alone_saves_and_loses_to_the_last_bit_what_full_passes_show(net):
    network, split = spatialize(made(NETS[net]), SHAPE), images(30)
    full, partial = (Trials(network, split, [0.1], 7) for _ in range(2))
    shares = []
    for name, layer in network.layers.items():
        alone = LayerTrials(partial, partial.network.layers[name])
        for seed in range(3):
            mask = mask_by_chance(layer.ofmap, Granularity.PATCH, 2, seed)
            assert alone.run("alone", mask) == full.run("alone", {name: mask})
        shares.append(partial.rows[-1]["share"])
        assert partial.rows[-3]["share"] == 1
    assert partial.best.keys() == full.best.keys()
    assert partial.best[0.1][1] == full.best[0.1][1]
    assert shares == sorted(shares, reverse=True)
    assert all(0 < share < 1 for share in shares)
    assert all(row["share"] == 1 for row in full.rows)


def test_the_cut_is_as_late_as_the_network_allows():
    network = spatialize(made(Residual), SHAPE)
    places = {name: place_before(network, layer) for name, layer in network.layers.items()}
    inside = {places["blocks.1.conv1"], places["blocks.1.conv2"]}
    assert len(inside) == 2  # what is added behind a block's last convolution is one value
    assert places["blocks.0.conv1"] != places["blocks.1.conv1"]


def test_a_pass_counts_as_the_share_of_macs_behind_the_cut():
    model = made(chain)
    network = spatialize(model, SHAPE)
    found = greedy_search(network, images(), 1.0, Granularity.LAYER, ones=(1, 1))
    targets = found.passes.query("stage == 'targets'")["share"].tolist()
    everywhere = cost(model, SHAPE).fp_macs
    behind = [everywhere - macs for macs in (4 * 7 * 6 * 18, 4 * 7 * 6 * 18 + 6 * 2 * 2 * 8)]
    shares = [macs / everywhere for macs in behind]
    assert targets == pytest.approx([1, *[shares[0]] * 3, 1, *[shares[1]] * 3])
    assert set(found.passes["direction"]) == {"forward"}
    assert found.passes["share"].sum() < len(found.passes)
