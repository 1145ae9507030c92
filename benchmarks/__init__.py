"""What contrail's rollouts and updates cost, beside TRL's own and beside the bare token work.

`python -m benchmarks --help` lists the commands; each prints a table and writes JSON. Contenders
run in one process and take turns; what they compute is compared in the same run.
"""
