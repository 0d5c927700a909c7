"""Differential privacy for the devices of a federation: noise, sensitivity, accounting and the budget. Pure.

docs/privacy.md says what it protects, at which price, and what is not integrated yet.
"""
