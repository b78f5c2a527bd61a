"""Quality of vector search by how documents are split, on data sets in BEIR layout, compared query by query.

python -m benchmarks.splitting [--save FILE] [--against FILE] [FOLDER ...]

Everything is computed by brute force, without Redis. `--save` keeps the values of each query, and `--against` compares
with values that were kept, such as those of another version of the splitter.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import ragknn
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.evaluation import _metrics as metrics
from ragknn.evaluation._significance import compare
from ragknn.evaluation.questions import read_questions

K = 10
ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT / "corpora" / "handbook", ROOT / "benchmarks" / "markdown" / "manuals"]
FOLDERS += [ROOT / "benchmarks" / "markdown" / "garden"]
SPLITTERS = {
    "text alone": ragknn.Splitter(headings=False),
    "with headings": ragknn.Splitter(),
    "text alone, 128": ragknn.Splitter(128, headings=False),
    "with headings, 128": ragknn.Splitter(128),
}
METRICS = {f"nDCG@{K}": metrics.ndcg, f"recall@{K}": metrics.recall}


def measure(folder: Path, embedder: SentenceEmbedder) -> dict[str, dict[str, list[float]]]:
    """Return the values of each query, by metric and splitter, and print how long the passages are."""
    questions = read_questions(folder)
    documents = [one for one in ragknn.read_documents(folder).outcomes() if isinstance(one, ragknn.Document)]
    queries = embedder.embed_queries(list(questions.queries.values()))
    print(f"\n{folder.name}: {len(documents)} documents, {len(questions)} queries")
    values: dict[str, dict[str, list[float]]] = {metric: {} for metric in METRICS}
    for name, splitter in SPLITTERS.items():
        reads = (embedder.token_spans, embedder.max_tokens)
        passages = [passage for document in documents for passage in splitter.split(document, *reads)]
        texts = [splitter.embedded_text(passage, *reads) for passage in passages]
        tokens = [len(embedder.token_spans(text)) for text in texts]
        print(
            f"  {name}: {len(passages)} passages, tokens {min(tokens)} to {max(tokens)}, median {np.median(tokens):g}"
        )
        similarities = queries @ embedder.embed_documents(texts).T
        ranked = [list(dict.fromkeys(passages[n].document_id for n in np.argsort(-row))) for row in similarities]
        for metric, score in METRICS.items():
            grades = [questions.grades[query] for query in questions.queries]
            values[metric][name] = [float(score(*pair, K)) for pair in zip(ranked, grades, strict=True)]
    return values


def main() -> None:
    """Measure the folders, or those of the project."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("folders", nargs="*", type=Path, default=FOLDERS)
    options = parser.parse_args()
    before = json.loads(options.against.read_text()) if options.against else {}
    embedder = SentenceEmbedder()
    kept = {}
    for folder in options.folders:
        kept[folder.name] = measure(folder, embedder)
        for metric, values in kept[folder.name].items():
            for name, own in values.items():
                print(f"  {metric} {name}: {np.mean(own):.4f}")
                if folder.name in before:
                    print(f"    {compare(metric, ('before', before[folder.name][metric][name]), (name, own))}")
            first, second, *_ = values
            print(f"  {compare(metric, (first, values[first]), (second, values[second]))}")
    if options.save:
        options.save.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
