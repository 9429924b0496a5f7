"""Workflows for teams that must stay on Step Functions: written as Amazon States Language, run by AWS.

places.py        where in the account things lie: buckets, roles, the queue for approvals, the topic for alerts
language.py      the pieces of the language: calls, jobs waited for in two ways, the branch that every failure takes
training.py      train, have it approved, create the model          batch.py      predict, monitor
real_time.py     deploy, monitor                                    schedule.py   what EventBridge starts
watch_scores.py  the program of the monitoring job                  command.py    `mdlc export`

What SageMaker is asked comes from the makers in resources/sagemaker, with references where a run decides.
"""
