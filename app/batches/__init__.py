"""Batches: study directories in, published and manifest-ed studies out, on any number of workers.

``states`` and ``records`` are pure; all SQL is in ``repository`` and its neighbours; the work on
files is in ``processing`` and ``publishing``; ``service`` is what the interface calls.
"""
