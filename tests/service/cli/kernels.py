"""Batch norm in float32 as somebody might write it: well, and with one slip.

Every operation rounds to float32. Sums are NumPy's, which adds pairwise in
blocks: the accuracy of a decent kernel.
"""

import numpy as np

F = np.float32


def two_pass(x, others, spread):
    mean = x.mean(others, dtype=F)
    return mean, ((x - spread(mean)) ** 2).mean(others, dtype=F)


def one_pass(x, others, spread):
    """E[x^2] - E[x]^2 in float32: cancels where the mean is large."""
    mean = x.mean(others, dtype=F)
    return mean, (x * x).mean(others, dtype=F) - mean * mean


def kernel(
    x, gamma, beta, dy, *,
    eps=1e-5, axis=1, statistics=two_pass, normalize_ddof=0, running_ddof=1,
    weight=0.1,
):  # fmt: skip
    """All results of one step from running statistics 0 and 1."""
    others = tuple(a for a in range(x.ndim) if a != axis)
    n = F(x.size // x.shape[axis])
    shape = [1] * x.ndim
    shape[axis] = -1
    spread = lambda v: np.reshape(v, shape)
    mean, var = statistics(x, others, spread)
    inv_std = F(1) / np.sqrt(var * n / (n - F(normalize_ddof)) + F(eps))
    x_hat = (x - spread(mean)) * spread(inv_std)
    dbeta = dy.sum(others, dtype=F)
    dgamma = (dy * x_hat).sum(others, dtype=F)
    dx = spread(gamma * inv_std) * (
        dy - spread(dbeta / n) - x_hat * spread(dgamma / n)
    )
    return {
        "y": spread(gamma) * x_hat + spread(beta),
        "mean": mean,
        "var": var,
        "inv_std": inv_std,
        "running_mean": F(weight) * mean,
        "running_var": F(1 - weight)
        + F(weight) * var * n / (n - F(running_ddof)),
        "dx": dx,
        "dgamma": dgamma,
        "dbeta": dbeta,
    }
