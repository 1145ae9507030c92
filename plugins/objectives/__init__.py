"""Objectives of stages."""
