"""Batch normalization in long double, straight from the formulas.

The significand has 64 bits here: ample for the float32 and float64 results that
are compared with it, on data without extreme conditions.
"""

import numpy as np

WIDE = np.longdouble


def wide(array):
    return np.asarray(array).astype(WIDE)


class Layer:
    """One batch and all its results. `axis` indexes channels."""

    def __init__(self, x, gamma=None, beta=None, dy=None, eps=1e-5, axis=1):
        self.x = wide(x)
        self.axis = axis % x.ndim
        self.others = tuple(a for a in range(x.ndim) if a != self.axis)
        channels = x.shape[self.axis]
        self.n = x.size // channels
        self.gamma = wide(np.ones(channels) if gamma is None else gamma)
        self.beta = wide(np.zeros(channels) if beta is None else beta)
        self.mean = self.x.mean(self.others)
        centred = self.x - self.spread(self.mean)
        self.var = (centred**2).mean(self.others)
        self.inv_std = 1 / np.sqrt(self.var + WIDE(eps))
        self.x_hat = centred * self.spread(self.inv_std)
        self.y = self.spread(self.gamma) * self.x_hat + self.spread(self.beta)
        if dy is not None:
            self.differentiate(wide(dy))

    def spread(self, vector):
        """A vector with one value a channel, in a shape that broadcasts."""
        shape = [1] * self.x.ndim
        shape[self.axis] = -1
        return np.reshape(vector, shape)

    def differentiate(self, dy):
        self.dbeta = dy.sum(self.others)
        self.dgamma = (dy * self.x_hat).sum(self.others)
        inner = (
            dy
            - self.spread(self.dbeta) / self.n
            - self.x_hat * self.spread(self.dgamma) / self.n
        )
        self.dx = self.spread(self.gamma * self.inv_std) * inner

    def running(self, mean, var, weight, ddof):
        factor = WIDE(self.n) / (self.n - ddof)
        kept = 1 - WIDE(weight)
        return (
            kept * wide(mean) + WIDE(weight) * self.mean,
            kept * wide(var) + WIDE(weight) * self.var * factor,
        )


def batch(shape, dtype=np.float32, mean=3.0, seed=0, axis=1):
    """x, gamma, beta and dy of that type, with the given shape."""
    random = np.random.default_rng(seed)
    channels = shape[axis]
    draw = lambda *size: random.standard_normal(size).astype(dtype)
    x = (random.standard_normal(shape) + mean).astype(dtype)
    return x, draw(channels), draw(channels), draw(*shape)
