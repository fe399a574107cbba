"""Sweeps: values of options tried on validation, in a grid or at random, and listed.

Bottom up:

    values        the values of one option: listed, evenly spaced, drawn
    file          the sweep file, and its configurations
    from_options  the same from the command line
    points        each configuration resolved and checked, its runs addressed as those of a study are
    result        what a sweep found, and `caution` on it
    procedure     checked, run, gathered
    cost          what it would cost
    report        table, files, page
"""
