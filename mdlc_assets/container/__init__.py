"""The container: one image that trains (`train`) and serves (`serve`), to SageMaker's contract.

layout.py       where SageMaker puts things and looks for them: /opt/ml
channels.py     the rows in a channel: Parquet or CSV
task.py         what to fit, from hyperparameters that are all strings
train.py        the entry point `train`
serve.py        the entry point `serve`
conformance.py  checks any container command against the contract, ours or a team's own
"""
