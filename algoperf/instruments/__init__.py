"""What can be measured while a submission trains: see `docs/cockpit.md`.

Formulas, schedules and configurations are plain numpy. Derivatives come from a `Probe`
(`algoperf.probe`), which each backend implements. Nothing here changes what a run computes.
"""
