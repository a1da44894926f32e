"""A market's messages: recordings of them, a simulator that writes such recordings, and features of every tick.

What parses messages needs the extra `live`.
"""
