"""One stream under several strategies, orders and seeds, side by side.

plan       what is to be run, from the command line or a YAML file
share      what several runs begin with is computed once
schedule   the runs, so many processes at a time
gather     finished runs, checked for being comparable
summary    means, intervals and differences: compare.json
launch     all of it in turn
"""
