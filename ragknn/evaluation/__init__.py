"""Evaluation of retrieval: quality of the rankings, confidence intervals, and latency.

from ragknn.evaluation import evaluate, read_questions

evaluation = evaluate(retriever, read_questions("corpora/handbook"), {"vector": {}, "hybrid": {"mode": "hybrid"}})
print(evaluation)
"""

from ragknn.evaluation._evaluating import aevaluate, evaluate, rank_documents
from ragknn.evaluation._latency import Latency
from ragknn.evaluation._metrics import Grades
from ragknn.evaluation._recall import RecallPoint, RecallScan, ascan_recall, scan_recall
from ragknn.evaluation._significance import Comparison, Estimate
from ragknn.evaluation.questions import Questions, read_questions
from ragknn.evaluation.results import Evaluation, SettingResult

__all__ = [
    "Comparison",
    "Estimate",
    "Evaluation",
    "Grades",
    "Latency",
    "Questions",
    "RecallPoint",
    "RecallScan",
    "SettingResult",
    "aevaluate",
    "ascan_recall",
    "evaluate",
    "rank_documents",
    "read_questions",
    "scan_recall",
]
