"""From texts to vectors: the protocol of an embedder, and the embedders that come with ragknn.

Here models are found, loaded and asked for vectors. What is done with the vectors is not here.
"""
