"""Campaigns: many submissions, workloads, studies and trials from one plan.

Engines only place work. What has been done and what is left is read from the experiment folder.
"""
