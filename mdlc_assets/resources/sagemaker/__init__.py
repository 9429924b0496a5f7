"""SageMaker: one way to make requests, two clients to send them to.

client.py         `SageMaker`, the Dagster resource: which client, where data lies, under which role
local_client.py   the client for a machine without AWS: checks each request by botocore's own service model,
                  then hands it to whoever really does the work here
local_*.py        who does it; a module with `HANDLERS` in this package is found by itself
local_state.py    what the local form remembers, in a folder
constraints.py    what botocore's own checks leave out: lengths, patterns, ranges, fixed values
"""
