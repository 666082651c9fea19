"""The stages of a run, in their order: membership, pretrain, finetune, query, score, evaluate.

A stage reads the files that the stages before it wrote and writes its own; stages do not import one another.
"""
