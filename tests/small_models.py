"""A small transformer with weights of chance, in a folder: quick to load and to convert."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel, BertTokenizerFast

from ragknn.embedding._loading import DEFAULT_MODEL, find_weights


def small_model(folder: Path, mode: str | tuple[str, ...] = "mean", prompts: dict[str, str] | None = None) -> Path:
    """Make a model that reads 30 tokens and does not normalize; return its folder."""
    from sentence_transformers.base.modules import Transformer

    torch.manual_seed(0)
    tokenizer = BertTokenizerFast.from_pretrained(find_weights(DEFAULT_MODEL))
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    bare = folder / "bare"
    BertModel(config).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    modules = [Transformer(str(bare), max_seq_length=32), Pooling(32, pooling_mode=mode)]
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save(str(folder / "model"))
    return folder / "model"
