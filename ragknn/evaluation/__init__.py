"""Evaluation of retrieval: quality of the rankings, confidence intervals, and latency.

from ragknn.evaluation import evaluate, read_questions

evaluation = evaluate(retriever, read_questions("corpora/handbook"), {"vector": {}, "hybrid": {"mode": "hybrid"}})
print(evaluation)
"""

from ragknn.evaluation.evaluating import aevaluate, evaluate, rank_documents
from ragknn.evaluation.questions import Questions, read_questions
from ragknn.evaluation.recall import RecallScan, ascan_recall, scan_recall
from ragknn.evaluation.results import Evaluation

__all__ = [
    "Evaluation",
    "Questions",
    "RecallScan",
    "aevaluate",
    "ascan_recall",
    "evaluate",
    "rank_documents",
    "read_questions",
    "scan_recall",
]
