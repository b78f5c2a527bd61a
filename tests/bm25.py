"""BM25 written from its paper, to compare the server's scores with."""

import math
from collections import Counter

from ragknn._protocol.server import parse_hello

OF_SEARCH_8 = (8, 0)


def length_weight(client):
    """Return b, which the server's module decides: how much the length of a text counts."""
    return 0.75 if parse_hello(client.execute_command("HELLO")).search >= OF_SEARCH_8 else 0.5


def bm25(stored, asked, b, k1=1.2):
    """Score texts, given by their terms: those that score, by their numbers (Robertson and Zaragoza 2009)."""
    average = sum(map(len, stored)) / len(stored)
    counts = [Counter(own) for own in stored]
    scores = Counter()
    for term in asked:
        having = sum(term in own for own in counts)
        idf = math.log(1 + (len(stored) - having + 0.5) / (having + 0.5))
        for number, own in enumerate(counts):
            if count := own[term]:
                scores[number] += idf * count * (k1 + 1) / (count + k1 * (1 - b + b * len(stored[number]) / average))
    return dict(scores)
