"""Readers of event recordings: one format a file, each from a file's bytes to a ``Recording``.

A reader refuses what is damaged with one ``DataError`` that names the file and, where it is known, the offset. It reads
no more than the file's own bytes, and unpacks no more of a compressed file than ``Content.most_bytes``.
"""
