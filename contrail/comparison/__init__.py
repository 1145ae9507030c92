"""One stream under several strategies, orders and seeds, side by side.

plan        the runs, from the command line or a YAML file
share       rows of R that several runs have in common are computed once
schedule    starts the runs, a limited number at a time
worker      a run in a process of its own
gather      reads finished runs and checks that they are comparable
estimate    means and intervals over seeds and orders
reference   forward transfer against runs on one environment each
summary     compare.json
launch      calls these in turn
"""
