"""The one table of tolerances, each with its reason."""

#: Absolute, for float32 answers of size one against the float64 reference. Measured on random models: rounding the
#: weights' products over up to 130 terms, 80 steps and 3 layers leaves errors below this where the dynamics are tame.
FLOAT32 = 2e-6

#: The same for float64: the order of sums is all that differs, amplified by the dynamics.
FLOAT64 = 1e-10

#: Where the dynamics amplify rounding (large weights), torch's own float32 error says how much error is inherent.
#: Two float32 implementations that round differently differ by chance; twice the largest of several torch runs
#: holds for both.
TIMES_TORCH = 2.0

#: Relative to the answer's size, for whole models: behind a Flatten a head sums thousands of products, and the C core
#: adds them one by one in their order, so that every kernel gives the same bits; pairwise sums round less.
RELATIVE = 5e-6

#: What a wrong gate order makes, at least: far above every error by rounding.
WRONG = 1e-3
