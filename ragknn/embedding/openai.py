"""An embedder that asks a service: OpenAI's, or any that speaks its protocol."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_call, check_str, check_timeout, check_whole, checked_texts, shown
from ragknn._secrets import guarded_url, without_login
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding._names import HASHING_PREFIX, READY_VECTORS, SERVICE
from ragknn.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidVectors,
    MissingDependency,
    ModelNotFound,
    TextTooLong,
)
from ragknn.text import TokenSpans
from ragknn.text._folding import fold

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError

_OPENAI = "https://api.openai.com/v1"
_DEFAULT_MODEL = "text-embedding-3-small"
_MAX_TOKENS = 8191  # of OpenAI's models
# OpenAI takes 300,000 tokens in one request, and a character is seldom more than one.
_CHARACTERS = 200_000
_NO_KEY = "none"  # the client insists on a key, where the server needs none
_SERVER = re.compile(r"\w+://(?:[^/?#\s]*@)?(?:\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]\s]+)(?::\d{1,5})?(?:/[^\s\x00-\x1f@]*)?")
_TOO_LONG = re.compile(r"context.length|maximum.*(token|length)|too (long|many tokens)|longer than", re.IGNORECASE)


class OpenAIEmbedder:
    """Embed with OpenAI, or with any server that speaks its protocol, such as vLLM, Ollama, LM Studio or LiteLLM.

    Requests that fail for a while (429, 5xx, no connection, no answer in time) are sent again, at the time that the
    server tells, or after longer and longer pauses. In the async classes they run in a thread.

    An index that is built with this embedder must be opened with it: an index alone must not decide to which server
    texts and a key are sent. In the command: `--embedder ragknn:OpenAIEmbedder`.

    Args:
        model: name that the server has for it; None: `RAGKNN_OPENAI_MODEL`, or text-embedding-3-small.
        base_url: where the server is, such as "http://localhost:11434/v1"; None: `OPENAI_BASE_URL`, or OpenAI.
        api_key: key for the server; None: `OPENAI_API_KEY`. It is in no message, log or pickle, as a password in
            base_url is not: another process takes it from the environment. Servers other than OpenAI may do without.
        dimensions: number of values in a vector, for models that can make shorter ones; None: as the model makes them.
        max_tokens: the model's limit in tokens; None for no limit. The default is that of OpenAI's models.
        token_spans: function from a text to (start, end) in characters of each token. Without it, words are counted
            instead of tokens, and a text that is too long for the server is an error.
        query_prompt: text before each query, for models that are trained with one.
        document_prompt: text before each passage.
        batch_size: texts in one request, at most; so many that they have 200,000 characters together, if these are
            fewer.
        timeout: seconds to wait for the answer to a request.
        max_retries: how often a request is sent again.

    Raises:
        TypeError: an argument of a wrong type.
        ValueError: an empty name, a base_url that is none, or a number that is too small.
        ConfigurationError: on first use, if there is no key for OpenAI, or the package openai is not installed.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        max_tokens: int | None = _MAX_TOKENS,
        token_spans: TokenSpans | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        batch_size: int = 256,
        timeout: float = 60.0,
        max_retries: int = 5,
    ) -> None:
        for what, text in (("model", model), ("base_url", base_url)):
            if text is not None:
                check_str(what, text)
        if api_key is not None and not isinstance(api_key, str):  # what is in it, no message may say
            raise TypeError(f"expected api_key as str, got {type(api_key).__name__}")
        for what, text in (("query_prompt", query_prompt), ("document_prompt", document_prompt)):
            check_str(what, text)
        for what, number, least in (
            ("dimensions", dimensions, 1),
            ("max_tokens", max_tokens, 1),
            ("batch_size", batch_size, 1),
            ("max_retries", max_retries, 0),
        ):
            if number is not None:
                check_whole(what, number, least)
        check_timeout(timeout)
        if token_spans is not None:
            check_call("token_spans", token_spans, "lambda text: [(0, len(text))]")
        # Late, because pydantic-settings takes longer to import than all the rest of ragknn.
        from ragknn.settings import load_settings

        settings = load_settings()
        self.model = settings.openai_model or _DEFAULT_MODEL if model is None else model
        if not self.model.strip() or self.model == READY_VECTORS or self.model.startswith(HASHING_PREFIX):
            raise ValueError(f"expected the name of a model, got {self.model!r}, which is empty or reserved")
        given = (base_url or settings.openai_base_url or _OPENAI).strip().rstrip("/")
        self.base_url = guarded_url(given) or given
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"expected base_url to begin with http:// or https://, got {shown(self._server)}")
        if not _SERVER.fullmatch(self.base_url):
            raise ValueError(
                f"expected base_url such as http://localhost:11434/v1, got {shown(self._server)}: / ? # and @ of a "
                "password, and @ of a path, are percent-encoded (%2F %3F %23 %40)"
            )
        self.dimensions = dimensions
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.timeout = timeout
        self.max_retries = max_retries
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._api_key = api_key
        self._dim = dimensions
        if token_spans is not None:
            self.token_spans = token_spans  # only then is this embedder `Tokenizing`
        self._client: OpenAI | None = None
        self._process = os.getpid()  # that made the client
        self._lock = ProcessLock()

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None, "_api_key": None}

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__, _client=None, _lock=ProcessLock())  # with the key, unlike a pickle
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self)] = twin = self.__copy__()
        return twin

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model

    @property
    def dim(self) -> int:
        """Number of values in a vector; embeds a text if the number is not known yet."""
        if self._dim is None:
            self._embed("document", ["dimension"])
        return self._dim or 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """A mark that a service made the vectors, and the prompts and dimensions if there are some."""
        unusual = {
            "query_prompt": self._prompts["query"],
            "document_prompt": self._prompts["document"],
            "dimensions": self.dimensions,
        }
        return {"kind": SERVICE, **{what: value for what, value in unusual.items() if value}}

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each passage, shape (n, dim).

        Raises:
            EmbeddingError: the server refuses, or does not answer.
            ModelNotFound: it does not have the model.
            TextTooLong: it says that a text is too long.
            InvalidVectors: it answers with something else than a vector for each text.
        """
        return self._embed("document", texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each query, shape (n, dim); raises what `embed_documents` does."""
        return self._embed("query", texts)

    def _embed(self, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
        read = [self._prompts[role] + fold(text) for text in checked_texts(texts, "text")]
        if not read:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.concatenate([self._ask(part) for part in self._requests(read)])

    def _requests(self, texts: Sequence[str]) -> Iterator[list[str]]:
        part: list[str] = []
        characters = 0
        for text in texts:
            if part and (len(part) == self.batch_size or characters + len(text) > _CHARACTERS):
                yield part
                part, characters = [], 0
            part.append(text)
            characters += len(text)
        yield part

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        client = self._connected()
        import openai  # late, because it is optional and slow to import

        options: dict[str, Any] = {} if self.dimensions is None else {"dimensions": self.dimensions}
        try:
            # The client asks for base64, and takes lists of numbers too, which some servers answer with all the same.
            answer = client.embeddings.create(model=self.model, input=texts, **options)
            rows = [(row.index, row.embedding) for row in answer.data]
        except openai.OpenAIError as error:
            refused: EmbeddingError = self._translated(error)
        except (AttributeError, TypeError, ValueError) as error:
            # No embeddings at all: a page of a proxy, or an error that comes with the status of a success.
            refused = InvalidVectors(
                f"expected embeddings from {self._server}, got another answer ({type(error).__name__}): check "
                "base_url, which usually ends with /v1"
            )
        else:
            return self._checked(rows, len(texts))
        raise refused  # outside, so that no request with the key in it hangs on the error

    def _checked(self, rows: Sequence[tuple[Any, Any]], count: int) -> NDArray[np.float32]:
        """Return the vectors in the order of the texts; the rows are pairs of a number and a vector."""
        what = f"{self.model}: expected one vector for each of {count} texts from {self._server}"
        if len(rows) != count:
            raise InvalidVectors(f"{what}, got {len(rows)}")
        numbers = [number for number, _ in rows]
        # Some servers number no row, or all alike; then the order is that of the texts.
        if any(number != numbers[0] for number in numbers):
            if any(number not in numbers for number in range(count)):
                raise InvalidVectors(f"{what}, numbered 0 to {count - 1}, got the numbers {shown(numbers)}")
            rows = sorted(rows, key=lambda row: int(row[0]))
        try:
            vectors = np.array([vector for _, vector in rows], dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidVectors(f"{what}, got vectors of several lengths, or values that are no numbers") from error
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise InvalidVectors(f"{what}, shape ({count}, {self._dim or 'dim'}), got shape {vectors.shape}")
        if self._dim is None:
            self._dim = vectors.shape[1]
        if vectors.shape[1] != self._dim:
            advice = "; leave dimensions out, the model cannot make shorter vectors" if self.dimensions else ""
            raise InvalidVectors(f"{what}, each of dim={self._dim} values, got {vectors.shape[1]} values{advice}")
        return vectors

    def _connected(self) -> OpenAI:
        with self._lock:
            # A forked process must not talk over the connections of its parent.
            if self._client is None or self._process != os.getpid():
                try:
                    from openai import OpenAI
                except ImportError as error:
                    raise MissingDependency("openai", "OpenAIEmbedder", "openai") from error
                self._client = OpenAI(
                    api_key=self._key(), base_url=self.base_url, timeout=self.timeout, max_retries=self.max_retries
                )
                self._process = os.getpid()
            return self._client

    def _key(self) -> str:
        from ragknn.settings import load_settings  # late, as above

        secret = load_settings().openai_api_key
        key = (self._api_key or (secret.get_secret_value() if secret else "")).strip()  # a file ends with a newline
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                "expected a key of printable ASCII characters, got others: copy it anew into OPENAI_API_KEY or api_key"
            )
        if not key and self.base_url == _OPENAI:
            raise ConfigurationError(
                "expected a key for OpenAI, got none: set OPENAI_API_KEY, pass api_key, or pass the base_url of a "
                "server of your own"
            )
        return key or _NO_KEY

    @property
    def _server(self) -> str:
        return without_login(self.base_url)

    def _without_key(self, said: str) -> str:
        """Return the beginning of what was said, in one line; some servers repeat the key."""
        line = " ".join(said.split())
        return (line if (key := self._key()) == _NO_KEY else line.replace(key, "***"))[:500]

    def _translated(self, error: OpenAIError) -> EmbeddingError:
        """Return an error of the client as one of ragknn."""
        import openai

        said = self._without_key(str(error))
        got = f"got {said}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return EmbeddingError(
                f"expected {self._server} to accept the key, {got}: set OPENAI_API_KEY or pass api_key"
            )
        if isinstance(error, openai.NotFoundError):
            return ModelNotFound(
                f"expected the model {self.model!r} at {self._server}, {got}: check the name, and base_url, which "
                "usually ends with /v1"
            )
        if isinstance(error, openai.RateLimitError):
            return EmbeddingError(
                f"expected {self._server} to answer {self.max_retries + 1} tries, {got}: wait, lower batch_size, or "
                "look at the limits of your account"
            )
        if isinstance(error, openai.APITimeoutError):
            return EmbeddingError(
                f"expected an answer from {self._server} within {self.timeout:g} s, got none in {self.max_retries + 1} "
                "tries: raise timeout, or lower batch_size"
            )
        if isinstance(error, openai.APIStatusError):
            if error.status_code in (400, 413, 422) and _TOO_LONG.search(said):
                return TextTooLong(
                    f"expected texts that {self.model} reads whole, {got}: shorten them, or pass max_tokens and "
                    "token_spans, so that long ones are embedded in pieces"
                )
            return EmbeddingError(f"expected {self._server} to embed with {self.model!r}, {got}")
        if isinstance(error, openai.APIConnectionError):
            cause = f"{type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""
            return EmbeddingError(
                f"expected a server at {self._server}, {got} {self._without_key(cause)}: check base_url and the network"
            )
        return EmbeddingError(f"expected {self._server} to embed with {self.model!r}, {got}")
