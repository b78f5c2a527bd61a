"""From neighbors to labels: votes on the neighbors that a retriever finds, and which k and weights vote best.

Classification and regression as scikit-learn's nearest neighbors do it. Its estimators, for rows of numbers, are in
`ragknn.estimators`.
"""

from ragknn.voting._arithmetic import Weights
from ragknn.voting.rules import Priors, Rules
from ragknn.voting.scoring import Scores, score_votes
from ragknn.voting.tuning import Setting, Tuning, atune, tune
from ragknn.voting.voter import AsyncLabelVoter, LabelVoter

__all__ = [
    "AsyncLabelVoter",
    "LabelVoter",
    "Priors",
    "Rules",
    "Scores",
    "Setting",
    "Tuning",
    "Weights",
    "atune",
    "score_votes",
    "tune",
]
