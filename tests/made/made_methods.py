"""Every method of the package as a function from a network to a network, on tiny images."""

from dataclasses import replace

import torch
from made_nets import Residual
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.randomness import seeded
from labsupport.data import Splits
from labsupport.methods import (
    binary,
    decomposition,
    deep_compression,
    early_exit,
    ensembles,
    pruning,
    quantization,
    sharing,
    spatial,
    surgery,
)
from labsupport.methods.decomposition.rank_one import full_rank
from labsupport.methods.distillation import SoftTargets, learn_hint, with_teacher
from labsupport.methods.early_exit.rules import Origin
from labsupport.methods.pruning import criteria
from labsupport.methods.sharing import entropy
from labsupport.network.batch_norm import recalibrated
from labsupport.network.cutting import cut_points
from labsupport.network.fingerprint import fingerprint
from labsupport.runtimes.packed import pack
from labsupport.training import Recipe, fit

IMAGE = (1, 8, 8)
BRIEF = Recipe(epochs=1, batch_size=16, lr=1e-3, weight_decay=0.01)


def toy_splits():
    """Three classes of 8 x 8 images, a few dozen in each part."""
    train, val, test = (toy_images(n, seed) for seed, n in enumerate((48, 24, 24)))
    return Splits("toy", train, val, test, ("low", "middle", "high"), (0.0,), (1.0,), "toy")


def prune(model):
    """Half of the channels of each group, by the norms of their filters."""
    widths = {name: max(1, width // 2) for name, width in surgery.widths(model, IMAGE).items()}
    return pruning.prune(model, IMAGE, widths, criteria.l2)


def magnitude(model):
    return pruning.magnitude(model, 0.4)


def share(model):
    """Four weights for each layer, and zeros."""
    return sharing.share(model, 2)


def hashed(model):
    """An eighth of the weights as values."""
    return sharing.hash_weights(model, 1 / 8)


def with_steps(model):
    """Weights and biases of five bits, their steps to be trained."""
    return entropy.with_steps(model, 5)


def compressed(model):
    """Half of the weights of each layer, and at most four different ones."""
    return deep_compression.deep_compression(
        model, toy_splits(), BRIEF, BRIEF, keep=0.5, bits=2, rounds=2
    )


def quantize(model):
    """Weights of 4 bits, inputs of 8."""
    return quantization.quantize(model, toy_splits().train, 4, 8)


def svd(model):
    """All layers as two, up to three numbers between them."""
    return decompose(model, lambda layer: decomposition.SVD(min(3, *layer.weight.flatten(1).shape)))


def cp(model):
    return decompose(model, four_terms, nn.Conv2d)


def four_terms(layer):
    """CP with four terms, or with as many as make up a smaller kernel."""
    return decomposition.CP(min(4, full_rank(tuple(layer.weight.shape))))


def tucker(model):
    return decompose(model, lambda layer: decomposition.Tucker(1, 1), nn.Conv2d)


def tensor_train(model):
    """Linear layers as trains of two cores, padded to even numbers; convolutions of their axes."""
    return decompose(model, train_of)


def train_of(layer):
    if isinstance(layer, nn.Conv2d):
        return decomposition.TensorTrain(1)
    inputs, outputs = ((2, (n + 1) // 2) for n in (layer.in_features, layer.out_features))
    return decomposition.TensorTrain(2, inputs, outputs)


def decompose(model, how, kinds=(nn.Linear, nn.Conv2d)):
    """Layers of some kinds, but for 1x1 convolutions and those by channels."""
    layers = {
        name: how(layer)
        for name, layer in model.named_modules()
        if isinstance(layer, kinds)
        and getattr(layer, "kernel_size", None) != (1, 1)
        and getattr(layer, "groups", 1) == 1
    }
    return decomposition.decompose(model, layers)


def bnn(model):
    return binary.binarize(model, binary.BNN)


def bwn(model):
    return binary.binarize(model, binary.BWN)


def xnor(model):
    return binary.binarize(model, binary.XNOR)


def packed(model):
    """All layers binary, their signs packed."""
    return pack(binary.binarize(model, binary.BNN_OF_SIGNS), IMAGE)


def lab(model):
    return binary.binarize(model, binary.LAB)


def bfloat16(model):
    return quantization.in_half(model, torch.bfloat16)


def branches(model):
    """A branch behind the first layer, which lets about half of the images leave."""
    place, shape = _first_place(model)
    with seeded(1):
        branch = early_exit.side_branch(shape, 3, channels=2, hidden=4)
    return early_exit.attach_branches(model, {place: branch}).with_thresholds([1.05]).eval()


def rules(model):
    """Rules behind the first layer that fit nothing, but are sure of some images."""
    place, shape = _first_place(model)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, shape.numel(), generator=generator)
    weight = 6 * (weight - weight.mean(1, keepdim=True)) / shape.numel() ** 0.5
    made = early_exit.Rules(weight, torch.zeros(3), Origin(place, tuple(shape), fingerprint(model)))
    margins = torch.full((3,), 0.7, dtype=torch.float64)
    return early_exit.BranchedNetwork(model, place, made.with_margins(margins))


def spatialize(model):
    """The diagonal mask after every ReLU of a convolution."""
    return spatial.spatialize(model, IMAGE)


def masks(model):
    """Masks for each filter that lose little, and an epoch of training with them."""
    network, splits = spatialize(model), toy_splits()
    by_filter = spatial.Granularity.FILTER
    found = spatial.fast_search(network, splits.val, 0.1, by_filter, tries=2)
    return spatial.retrain(found.network, splits, BRIEF)


def distill(model):
    """An epoch with the answers of a teacher drawn by chance."""
    splits = toy_splits()
    train = with_teacher(splits.train, toy_network(seed=2).eval())
    return fit(model, replace(splits, train=train), BRIEF, objective=SoftTargets()).model


def hint(model):
    """An epoch in which the layer that can be cut first learns from a teacher drawn by chance."""
    place, _ = _first_place(model)
    teacher = toy_network(seed=2).eval()
    return learn_hint(model, teacher, toy_splits(), BRIEF, guided=place, hint="2")


def ensemble(model):
    """With another network, drawn by chance."""
    return ensembles.ensemble([model, toy_network(seed=2)])


def average(model):
    """The mean with a network that was trained on from it, its batch norms recalibrated."""
    other = fit(model, toy_splits(), BRIEF).model
    return recalibrated(ensembles.average([model, other]), toy_splits().train)


def _first_place(model):
    place, shape = next(iter(cut_points(model, IMAGE).items()))
    return place, torch.Size(shape)


NETWORKS = {"sequential": toy_network, "residual": Residual}
METHODS = {
    "prune": prune,
    "distill": distill,
    "hint": hint,
    "ensemble": ensemble,
    "mirrored": ensembles.mirrored,
    "multicrop": ensembles.multicrop,
    "average": average,
    "branches": branches,
    "rules": rules,
    "spatialize": spatialize,
    "masks": masks,
    "magnitude": magnitude,
    "without_masks": pruning.without_masks,
    "sparse": pruning.with_sparse_linears,
    "share": share,
    "hashed": hashed,
    "without_codebooks": sharing.without_codebooks,
    "with_steps": with_steps,
    "rounded": entropy.rounded,
    "compressed": compressed,
    "quantize": quantize,
    "quantized_integers": lambda model: quantization.with_integers(quantize(model)),
    "bfloat16": bfloat16,
    "svd": svd,
    "cp": cp,
    "tucker": tucker,
    "tensor_train": tensor_train,
    "bnn": bnn,
    "bwn": bwn,
    "xnor": xnor,
    "lab": lab,
    "packed": packed,
}
# Which methods a network may get next. Masks and codebooks go before surgery; what leaves early by
# rules or multiplies sparse matrices is finished, but for its weights. Spatial layers come once,
# and before exits; networks of few bits are finished.
WEIGHTS = ("magnitude", "without_masks", "sparse", "share", "hashed", "with_steps")
FOLLOWERS = {
    "prune": tuple(METHODS),
    "distill": tuple(METHODS),
    "ensemble": ("prune", "distill", "quantize", "average", *WEIGHTS),
    "mirrored": ("distill",),
    "without_masks": tuple(METHODS),
    "branches": ("prune", "distill", "quantize", *WEIGHTS),
    "rules": ("quantize", *WEIGHTS),
    "spatialize": ("prune", "distill", "branches", "rules", *WEIGHTS),
    "masks": ("prune", "distill", "branches", "rules", *WEIGHTS),
    "magnitude": ("distill", "spatialize", "quantize", "svd", "xnor", *WEIGHTS),
    "sparse": ("without_masks",),
    "compressed": ("distill", "without_codebooks", "quantize"),
    "quantize": ("distill",),
    "quantized_integers": ("distill",),
    "bfloat16": (),
    "bnn": ("distill",),
    "bwn": ("distill", "quantize", *WEIGHTS),
    "xnor": ("distill", "quantize", *WEIGHTS),
    "lab": ("distill",),
    "packed": (),
    "share": ("distill", "without_codebooks", "quantize", *WEIGHTS),
    "hashed": ("distill", "quantize", *WEIGHTS),
    "without_codebooks": tuple(METHODS),
    "with_steps": ("distill", "rounded", *WEIGHTS),
    "rounded": ("prune", "with_steps"),
    "svd": tuple(METHODS),
    "cp": ("prune", "distill", "branches", "spatialize", "quantize", "svd", *WEIGHTS),
    "tucker": ("prune", "distill", "branches", "spatialize", "quantize", "svd", *WEIGHTS),
    "tensor_train": ("distill", "branches", "rules", "spatialize", "cp", "tucker"),
}
PAIRS = [(first, second) for first, after in FOLLOWERS.items() for second in after]
