"""Synthetic captures for the benchmarks: made in seconds, with valid checksums, the same for the same seed.

``dialogues`` holds what is said, ``frames`` turns a dialogue into packets, thousands of copies at a time, and
``captures`` mixes the packets of many flows by time and writes them as a capture file.
"""
