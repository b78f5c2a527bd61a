"""Errors travel between processes and can be copied, as a pool of workers has to send them."""

import copy
import pickle

import pytest

from ragknn import Failure, IngestReport, Retrieval, errors

MADE_OF = {
    "MissingDependency": ("torch", "SentenceEmbedder", "local"),
    "IndexNotOpen": ("faq", True),
    "IndexNotFound": ("expected one, got none", ("another",)),
    "SchemaMismatch": ("faq", {"dim": (3, 4)}, "Pass dim=4."),
    "IngestFailed": (IngestReport(failed=(Failure("a", "expected text, got none"),)),),
    "DeletionRefused": ("faq", 50, IngestReport(added=1, kept=50)),
    "IncompleteRetrieval": (Retrieval([], complete=False, warnings=("timeout",)),),
}
ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RagKNNError)]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_says_the_same_after_its_journey(kind, travel):
    error = kind(*MADE_OF.get(kind.__name__, ("expected this, got that",)))
    arrived = travel(error)
    assert (type(arrived), str(arrived)) == (kind, str(error))
    assert repr(vars(arrived)) == repr(vars(error))
