"""Documents on a line through the plane and around it, and what tests of votes on them say all the time."""

from ragknn import Neighbor, Passage

HERE = "0 0"
FIVE = {
    "one": ("1 0 east", "x"),
    "two": ("0 2 north", "y"),
    "four": ("0 -4 south", "y"),
    "five": ("3 4", "x"),
    "ten": ("-6 8", "z"),
}


def neighbor(name, text, label, distance):
    return Neighbor(Passage(f"{name}#0", name, text, 0, len(text), label), distance)


def ids(vote):
    return [neighbor.passage.document_id for neighbor in vote.neighbors]


def searches(sent):
    return [words for words in sent if words[0] == "FT.SEARCH" and "[KNN" in " ".join(words)]
