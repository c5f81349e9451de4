"""Changed and foreign images: shapes, ranges, and that each is what its name says."""

from __future__ import annotations

import pytest
import torch

from labsupport.methods.early_exit import strange


@pytest.fixture(params=[(7, 1, 28, 28), (4, 3, 32, 20)], ids=["gray", "color"])
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.rand(request.param, generator=torch.Generator().manual_seed(3))


def drawn(make, images: torch.Tensor) -> dict[str, torch.Tensor]:
    return make(images, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [strange.changed, strange.foreign])
def test_all_kinds_have_the_shape_of_the_images_and_stay_in_range(make, images):
    before = images.clone()
    for kind in drawn(make, images).values():
        assert kind.shape == images.shape
        assert kind.min() >= 0
        assert kind.max() <= 1
        assert not torch.equal(kind, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("make", [strange.changed, strange.foreign])
def test_the_same_generator_draws_the_same_images(make, images):
    first, second = drawn(make, images), drawn(make, images)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_can_be_undone_gives_the_images_back(images):
    kinds = drawn(strange.changed, images)
    assert torch.allclose(1 - kinds["inverted"], images)
    assert torch.allclose(kinds["faint"] / 0.4, images)
    assert torch.equal(kinds["moved by 3 pixels"].roll((-3, -3), (2, 3)), images)


def test_shuffled_pixels_are_the_same_pixels_in_another_place(images):
    shuffled = drawn(strange.foreign, images)["pixels shuffled"]
    assert torch.equal(shuffled.flatten(2).sort().values, images.flatten(2).sort().values)


def test_clothes_differ_from_piece_to_piece(images):
    clothes = drawn(strange.foreign, images)["clothes"]
    assert len(clothes.flatten(1).unique(dim=0)) == len(images)
