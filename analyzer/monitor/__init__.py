"""The live monitor: packets come in as they pass, alerts go out, and what was found is kept in a store.

The stages are those of offline runs (``analyzer.pipeline``); this room adds what only live use has: the loop, the store, alerts and
their sinks, metrics, the screen, and leaving privileges behind.
"""
