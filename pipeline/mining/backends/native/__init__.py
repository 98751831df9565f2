"""The scan in C (backend `native`): the same answers as ``reference.scan``, faster than the processor's matrix product.

``csrc/scan.h`` says why its answers are exact; ``search`` prepares its arrays, and is the only module that imports it.
"""
