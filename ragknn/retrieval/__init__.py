"""From a question to the passages that answer it, and on to the text of a prompt.

Here are the retriever with its options, the ways to fuse, rerank and diversify what it finds, and the context of a
prompt. What neighbors say of a label is in `ragknn.voting`.
"""
