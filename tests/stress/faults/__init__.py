"""Every source that talks to something, under every fault, at every age of its credentials: ``nox -s faults``.

========  ==================================================================================================
bench     what one cell has for itself: a service on loopback, a home, a context; and how faults get at them
sources   the sources as they are set up, and what each of them promises
faults    the faults, and why some sources cannot have some of them
cells     one source, one fault, one phase: callers ask, and what happens is written down
story     what is written down
rules     the three rules that hold in every cell
table     what happened, as ``matrix.md`` keeps it
========  ==================================================================================================

Services, sockets, files and programs are real. Time is not: the loop's clock and the wall clock move together, and
only when nobody has anything left to do (see `tests.helpers.idle_time`), so that time-outs are those that a
program gets which says nothing, and the table is the same on a slow machine. What is random is as bad as it may be:
pauses within a trip to the source are the longest, pauses between trips the shortest.
"""
