"""From neighbors to labels: votes on the neighbors that a retriever finds, and which k and weights vote best.

Classification and regression as scikit-learn's nearest neighbors do it. Its estimators, for rows of numbers, are in
`ragknn.estimators`.
"""
