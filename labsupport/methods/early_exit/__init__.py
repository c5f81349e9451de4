"""Early exit: linear sufficient rules on a trained network's features, and BranchyNet."""

from labsupport.methods.early_exit.branchy import (
    BranchyNet,
    JointExits,
    attach_branches,
    entropy,
)
from labsupport.methods.early_exit.branchy_search import (
    ExitAnswers,
    exit_answers,
    search_thresholds,
)
from labsupport.methods.early_exit.fitting import RulesRecipe, fit_rules, unpooled
from labsupport.methods.early_exit.heads import linear_branch, side_branch
from labsupport.methods.early_exit.margins import Answers, answers, calibrate, least_margins
from labsupport.methods.early_exit.network import BranchedNetwork, Chunked
from labsupport.methods.early_exit.rules import NEVER, Calibration, Rules
from labsupport.network.cutting import collect, cut

__all__ = [
    "NEVER",
    "Answers",
    "BranchedNetwork",
    "BranchyNet",
    "Calibration",
    "Chunked",
    "ExitAnswers",
    "JointExits",
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
    "least_margins",
    "linear_branch",
    "search_thresholds",
    "side_branch",
    "unpooled",
]
