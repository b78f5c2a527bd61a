"""What an index is made of, kept with it as its manifest."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from ragknn._checks import LARGEST, check_choice, check_flag, check_mapping, check_unicode, shown
from ragknn._protocol.encoding import ENCODERS, any_field_tags, lookup
from ragknn._protocol.keys import stored_name
from ragknn._protocol.vectors import BYTES_PER_VALUE, DType
from ragknn.embedding._names import READY_VECTORS
from ragknn.errors import SchemaMismatch
from ragknn.records import Metric
from ragknn.text._terms import LANGUAGES, Analyzer, analyzer
from ragknn.text._words import default_stop_words, fold_stop_words
from ragknn.text.splitting import Splitter

Algorithm: TypeAlias = Literal["flat", "hnsw"]
FieldType: TypeAlias = Literal["tag", "numeric", "text"]
OnBadField: TypeAlias = Literal["fail", "leave_out"]

AUTO = "auto"  # in place of a dtype: the one that suits the index

FORMAT = 4  # of the manifest and of the hashes; a later release that changes either counts up
FIRST_WITH_TERMS = 3  # but the records of documents were hashes of their own
OLDEST_FORMAT = 2  # the words were indexed by the server's rules; all else was as in 3
WITH_STORE = 5  # as 4, but for where the passages are, where releases that know of one store only would not find them
# The field of the hash with a tag for every entry of the metadata.
ANY_FIELD = "any"

# Search 2.10.5 takes any number of edges, and ends without a word when it allocates 65,535 for each passage.
LARGEST_M = 2_048
SMALLEST_M = 2  # and with one edge for each passage it ends as well

_RESERVED = ("label", "document_id")  # in a filter these are the document's own


# What a vector depends on, of all that an index is made of.
_OF_EMBEDDER = ("embedder", "identity", "content", "dim")
_OF_VECTORS = (*_OF_EMBEDDER, "dtype")


@dataclass(frozen=True, slots=True)
class Schema:
    """What an index is made of; kept with it as its manifest.

    Attributes:
        embedder: name of the embedder, or `READY_VECTORS`.
        dim: number of values in a vector.
        identity: what else of the embedder changes its vectors.
        content: digest of the files of a model in a folder, in place of which its path is not compared; else None.
        metric: cosine, ip (inner product) or l2 (Euclidean).
        algorithm: flat looks at every vector and is exact; hnsw walks a graph and is approximate.
        dtype: dtype of the stored vectors.
        m: hnsw only: edges of a node.
        ef_construction: hnsw only: candidates looked at while a node is added.
        fields: entries of the metadata that can be filtered on, and how; a dotted name is an entry within another.
        any_field: whether all other scalar entries can be filtered on too, by equality.
        text_search: whether the words of the passages are indexed too.
        language: by whose rules the stems of words are found.
        stop_words: words that are not indexed; None becomes the default of the language.
        fold_accents: whether words are found without regard to accents.
        required_filter: declared tag field that every filter must pin and every document must have; None for none.
        splitter: how documents are cut; None: as a `Splitter` without arguments does.
        version: of the search index that serves; None where an earlier release made the index, and its alias tells. Two
            indexes that differ in it alone are made of the same.
        store: where its passages are; explained at `Keys`.
    """

    embedder: str
    dim: int
    identity: Mapping[str, Any] = field(default_factory=dict)
    metric: Metric = "cosine"
    algorithm: Algorithm = "flat"
    dtype: DType = "float32"
    m: int = 16
    ef_construction: int = 200
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    any_field: bool = False
    text_search: bool = True
    language: str = "english"
    stop_words: tuple[str, ...] | None = None
    fold_accents: bool = True
    required_filter: str | None = None
    content: str | None = None
    splitter: Splitter | None = None
    format: int = FORMAT
    version: int | None = field(default=1, compare=False)
    store: int = 1

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, get_args(Metric))
        check_choice("algorithm", self.algorithm, get_args(Algorithm))
        check_choice("dtype", self.dtype, get_args(DType))
        for name in ("dim", "m", "ef_construction"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise ValueError(f"expected {name} >= 1, got {shown(value)}")
        if self.m > LARGEST_M:
            raise ValueError(f"expected m <= {LARGEST_M}, got {shown(self.m)}: with far more edges the server ends")
        if self.m < SMALLEST_M and self.algorithm == "hnsw":
            raise ValueError(f"expected m >= {SMALLEST_M}, got {shown(self.m)}: with a single edge the server ends")
        for flag in ("any_field", "text_search", "fold_accents"):
            check_flag(flag, getattr(self, flag))
        check_mapping("fields", self.fields, '{"year": "numeric"}')
        for name, kind in self.fields.items():
            check_choice(f"the type of field {shown(name)}", kind, get_args(FieldType))
            if not isinstance(name, str) or not name or name.startswith("$") or name in _RESERVED:
                raise ValueError(
                    f"expected a field name that does not begin with $ and is none of {', '.join(_RESERVED)}, which "
                    f"every document has, got {shown(name)}"
                )
            check_unicode(name, "the name of a field")
        if self.required_filter is not None and not self._has_tag(self.required_filter):
            field_name = shown(self.required_filter)
            raise ValueError(
                f"expected required_filter to be a field declared as tag, got {field_name}: declare it, "
                f'as in Index(..., fields={{{field_name}: "tag"}})'
            )
        check_choice("language", self.language, LANGUAGES)
        folded = default_stop_words(self.language) if self.stop_words is None else fold_stop_words(self.stop_words)
        object.__setattr__(self, "stop_words", folded)  # the manifest tells them, whatever a later default may be

    def _has_tag(self, name: object) -> bool:
        return isinstance(name, str) and self.fields.get(name) == "tag"

    def dumps(self) -> str:
        """Return the schema as the JSON text that the manifest holds."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["splitter"] = None if self.splitter is None else asdict(self.splitter)
        if self.store == 1:
            del values["store"]  # which earlier releases do not know
        else:
            values["format"] = WITH_STORE
        return json.dumps(values, default=dict, sort_keys=True)

    @classmethod
    def loads(cls, name: str, text: str) -> Schema:
        """Return the schema that the manifest of index `name` holds.

        Raises:
            SchemaMismatch: the manifest was written by a release with another format.
        """
        values = json.loads(text)
        found = values.get("format")
        if found == WITH_STORE:
            values["format"] = found = FORMAT
        if found == OLDEST_FORMAT and not values["text_search"]:
            values["format"] = FIRST_WITH_TERMS  # without words they do not differ
        elif found not in (OLDEST_FORMAT, FIRST_WITH_TERMS, FORMAT):
            raise SchemaMismatch(name, {"format": (FORMAT, found)})
        kept = values.pop("splitter", None)
        version = values.pop("version", None)
        return cls(**values, splitter=None if kept is None else Splitter(**kept), version=version)

    @property
    def suggested_dtype(self) -> DType:
        """The shortest dtype that is known to leave the rankings of such an index as they are.

        By cosine only the directions of vectors count, which float16 keeps to within 0.0003; the passages that then
        change places are as good as equally near. Of ready vectors nobody knows the scale, which float16 may not hold,
        and by the other metrics their lengths count too.
        """
        return "float16" if self.embedder != READY_VECTORS and self.metric == "cosine" else "float32"

    @property
    def storage(self) -> str:
        """What the stored vectors take, and whether another dtype would take less."""
        takes, suggested = self.dim * BYTES_PER_VALUE[self.dtype], self.suggested_dtype
        less = self.dim * BYTES_PER_VALUE[suggested]
        advice = f"; {less:,} after rebuild(dtype='auto') ({suggested}), with the same rankings but for near ties" * (
            less < takes
        )
        return f"{takes:,} bytes a vector, in its hash and in the search index{advice}"

    @property
    def analyzer(self) -> Analyzer:
        """How texts become the terms that are indexed."""
        return analyzer(self.language, self.stop_words or (), self.fold_accents)

    @property
    def has_terms(self) -> bool:
        """Whether the passages can be searched for their words."""
        return self.text_search and self.format >= FIRST_WITH_TERMS

    def has_vectors_of(self, other: Schema) -> bool:
        """Whether vectors are made and stored as in another index."""
        return all(getattr(self, name) == getattr(other, name) for name in _OF_VECTORS)

    def check_vectors(self, name: str, other: Schema) -> None:
        """Refuse an index whose vectors are made or stored otherwise than in `other`, as it was opened.

        Raises:
            SchemaMismatch: with each property that differs.
        """
        if not self.has_vectors_of(other):
            self.check(name, {key: getattr(other, key) for key in _OF_VECTORS})

    def check_embedder(self, name: str, other: Schema) -> None:
        """Refuse an index whose vectors are made otherwise than in `other`, as it was opened, however they are stored.

        Raises:
            SchemaMismatch: with each property that differs.
        """
        if READY_VECTORS in (self.embedder, other.embedder) and self.embedder != other.embedder:
            raise SchemaMismatch(name, {"embedder": (other.embedder, self.embedder)})
        self.check(name, {key: getattr(other, key) for key in _OF_EMBEDDER})

    def check(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Compare with what the caller asks for; what it does not name is taken as it is.

        Any embedder may be used with an index of ready vectors; only its dimension is compared. Models in folders are
        compared by their content, not by their paths, where both contents are known.

        Raises:
            SchemaMismatch: with each property that differs.
        """
        content = wanted.get("content")
        passed_over = {"embedder", "identity"} if self.embedder == READY_VECTORS else set()
        passed_over.add("embedder" if content and self.content else "content")
        differences = {
            key: (expected, getattr(self, key))
            for key, expected in wanted.items()
            if getattr(self, key) != expected
            and key not in passed_over
            and not (key == "fields" and expected.items() <= self.fields.items())  # others may have been added later
        }
        if differences:
            raise SchemaMismatch(name, differences, self._advice(differences, wanted))

    def is_of(self, embedder: Mapping[str, Any]) -> bool:
        """Tell whether the vectors are those of an embedder with these properties."""
        try:
            self.check("", embedder)
        except SchemaMismatch:
            return False
        return True

    def cuts_as(self, other: Schema) -> bool:
        """Tell whether documents are cut as by another schema: the splitter may count the tokens of the model."""
        return all(
            getattr(self, name) == getattr(other, name) for name in ("splitter", "embedder", "identity", "content")
        )

    def _advice(self, differences: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
        if "content" in differences:
            return f"The files of the model in {wanted['embedder']} are not those that made the vectors of the index."
        if "embedder" in differences and wanted.get("content"):
            return (
                "The index does not tell the content of its model. If that one was only moved, name it as the index "
                f"does: SentenceEmbedder({wanted['embedder']!r}, name={self.embedder!r})."
            )
        return ""

    def field_values(
        self,
        metadata: Mapping[str, Any],
        on_bad_field: OnBadField = "fail",
        names: Collection[str] | None = None,
    ) -> tuple[dict[str, str], list[str]]:
        """Return the declared fields of a document as the server indexes them, and what was left out of them and why.

        Args:
            metadata: the document's metadata.
            on_bad_field: whether a value that does not fit its field is an error, or left out.
            names: of the fields that are wanted; None: all.

        Raises:
            ValueError: a value does not fit the type of its field and is not to be left out, or the required field is
                missing.
        """
        values: dict[str, str] = {}
        left_out: list[str] = []
        for name, kind in self.fields.items():
            if names is not None and name not in names:
                continue
            value = lookup(metadata, name)
            try:
                if value is not None:
                    values[stored_name(name)] = ENCODERS[kind](name, value)
            except ValueError as error:
                if on_bad_field == "fail" or name == self.required_filter:
                    raise
                left_out.append(str(error))
            if name == self.required_filter and not values.get(stored_name(name)):
                raise ValueError(f"field {name!r}: expected a value, which this index requires, got {shown(value)}")
        if self.any_field and (tags := any_field_tags(metadata)):
            values[ANY_FIELD] = tags
        return values, left_out
