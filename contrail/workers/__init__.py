"""Instances of environments, in this process or in worker processes.

factory    makes an instance
pool       the instances of a run
remote     an instance in a worker process, as the main process sees it
worker     the worker process
child      a process that never outlives its parent
"""
