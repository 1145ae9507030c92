"""What contrail does on a GPU: is it right, how fast, with how much memory.

`benchmarks/gpu.sh --help` lists the options. Every part runs in a process of its own, under a time
limit, and its figures are kept as they come: what ends one part leaves the others alone.
"""
