"""Expands each stage with `each`, a template, into its instances.

A closed room: `load` calls `Expander` with the JSON of a checked spec, and gets the JSON of the stages to build. With
all of them, `References` finds the paths that references mean. Nothing after that knows templates, but for those
without instances, `Spec.empty`. Read it only if you work on `each` itself.
"""
