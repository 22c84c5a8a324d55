"""The report: gather what `evaluate` wrote, compare, draw, and write one HTML file that needs no
network.
"""
