"""What the benchmarks of speed share: data, races between contenders, their results, and how these are shown.

A race is timed with the contenders taking turns, A B A B, so that all of them meet the same machine. A benchmark yields
races and curves; `program.run` prints them, and saves them as JSON with a plot. No contender is known here.
"""
