"""Early exit: linear sufficient rules on a trained network's features, and BranchyNet."""

from labsupport.methods.early_exit.features import collect, split_at
from labsupport.methods.early_exit.fitting import RulesRecipe, fit_rules
from labsupport.methods.early_exit.margins import Answers, answers, calibrate, least_margins
from labsupport.methods.early_exit.network import BranchedNetwork, Chunked
from labsupport.methods.early_exit.rules import NEVER, Rules, load_rules

__all__ = [
    "NEVER",
    "Answers",
    "BranchedNetwork",
    "Chunked",
    "Rules",
    "RulesRecipe",
    "answers",
    "calibrate",
    "collect",
    "fit_rules",
    "least_margins",
    "load_rules",
    "split_at",
]
