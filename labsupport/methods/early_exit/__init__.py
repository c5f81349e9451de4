"""Early exit: linear sufficient rules on a trained network's features, and BranchyNet."""

from labsupport.methods.early_exit.branchy import (
    BranchyNet,
    attach_branches,
    entropy,
    joint_objective,
    side_branch,
)
from labsupport.methods.early_exit.branchy_search import (
    ExitAnswers,
    exit_answers,
    search_thresholds,
)
from labsupport.methods.early_exit.fitting import RulesRecipe, fit_rules, unpooled
from labsupport.methods.early_exit.margins import Answers, answers, calibrate, least_margins
from labsupport.methods.early_exit.network import BranchedNetwork, Chunked
from labsupport.methods.early_exit.rules import NEVER, Calibration, Rules, load_rules
from labsupport.network.cutting import collect, cut

__all__ = [
    "NEVER",
    "Answers",
    "BranchedNetwork",
    "BranchyNet",
    "Calibration",
    "Chunked",
    "ExitAnswers",
    "Rules",
    "RulesRecipe",
    "answers",
    "attach_branches",
    "calibrate",
    "collect",
    "cut",
    "entropy",
    "exit_answers",
    "fit_rules",
    "joint_objective",
    "least_margins",
    "load_rules",
    "search_thresholds",
    "side_branch",
    "unpooled",
]
