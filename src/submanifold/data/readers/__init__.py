"""Readers: each turns one kind of source into a `Raw` reading, or refuses it in one sentence.

A reader is a function `read(source, limit, **options)`. `limit` is a hint: a reader for which that is cheaper
takes only the points `chosen(n, limit)`; `submanifold.data.load` limits what the others return.
"""
