"""The report of a run: one page that opens offline, in which every number says which line of which file it is from.

number.py     a number with its source; sentences with numbers in them
run.py        a run folder as plain values
findings/     what may be wrong, what it means and what to do: pure rules
verdict.py    whether the policy is better, to each judge
charts.py     figures for plotly
graph.py      the stages and what they start from, drawn
tables.py     what is told in rows
samples.py    prompts with every side's answer
page.py       all of that as a page
compare.py    several runs side by side
"""
