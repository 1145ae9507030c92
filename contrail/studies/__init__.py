"""`contrail study`: the questions of the study, as experiments that end in verdicts.

The study is "Does Reinforcement Fine-Tuning Improve Generalization of LLM Agents?"
(arXiv:2603.12011).

design      the runs of each experiment: within, transfer, sequence, mixture, interface
plan        the study's file, and the configuration of every run
launch      makes the missing runs, and writes the page
evidence    scores of the runs, as quantities over seeds
criteria    when a claim holds, does not hold, or cannot be told
claims      the claims of the study
tables      matrices with intervals; contrasts: differences that several claims take
summary     the content of the JSON file
beside      the verdicts of several studies side by side
cost        an estimate of what an experiment costs
"""
