"""From the configuration to Avalanche's stream of stages, each with its tasks.

listed, list_tasks    make the environments, and list their tasks
make_scenario         the stages to train, and the columns to test
refuse_shared         keeps what one column tests out of what another trains on
"""
