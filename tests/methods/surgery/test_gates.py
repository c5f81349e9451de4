import pytest
import torch
from made_nets import NETS, images, made

from labsupport.methods.surgery import channel_groups, gated, mask_channels, prunable


@pytest.mark.parametrize("name", NETS)
def test_a_gate_of_zeros_is_a_mask(name):
    net, shape = made(name)
    x = images(shape)
    for group in prunable(channel_groups(net, shape))[:4]:
        gate = torch.ones(group.channels).double()
        gate[1::2] = 0
        with gated(net, group, gate):
            through = net(x)
        masked = mask_channels(net, shape, {group.name: range(1, group.channels, 2)})
        torch.testing.assert_close(through, masked(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_every_example_can_have_a_gate_of_its_own(name):
    net, shape = made(name)
    x = images(shape)
    group = prunable(channel_groups(net, shape))[0]
    gates = torch.rand(len(x), group.channels).double()
    with gated(net, group, gates):
        together = net(x)
    for row, gate in enumerate(gates):
        with gated(net, group, gate):
            torch.testing.assert_close(together[[row]], net(x[[row]]))


def test_the_gates_are_gone_afterwards():
    net, shape = made("plain")
    x = images(shape)
    before = net(x)
    group = channel_groups(net, shape)[0]
    with pytest.raises(RuntimeError), gated(net, group, torch.zeros(3).double()):
        net(x)
    assert torch.equal(net(x), before)
