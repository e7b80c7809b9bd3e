"""Reference filters, applied to a layer's references before other members read them.

Each module is one filter, and its name is the module's.
"""
