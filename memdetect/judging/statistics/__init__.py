"""p-values, error rates and intervals from formulas, in pure Python: a gate needs no numpy and no scipy."""
