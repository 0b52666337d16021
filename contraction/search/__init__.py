"""The search for contraction trees: greedy, bisection, annealing, exact, and the choice among them.

Every member takes a `Problem` and returns a `Found` (`contraction.search.problem`), so members
can be chained: greedy or bisection makes a tree, annealing and windows improve it.
"""
