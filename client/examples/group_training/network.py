"""The classifier around the batch-norm layers, in numpy f32.

    64 pixels -> [dense -> batch norm -> ReLU] x 2 -> dense -> 10 classes

Everything here is the worker's own; batch norm is the server's.
"""

import gzip

import numpy as np

WIDTHS = (64, 32)
CLASSES = 10


def read_digits(path):
    """Pixels in [0, 1], and labels; shuffled, as the file is sorted by writer."""
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return (rows[:, :64] / 16).astype(np.float32), rows[:, 64]


def initial_weights(seed):
    """Dense weights, then gamma and beta of each layer, then the last bias."""
    random = np.random.default_rng(seed)
    weights, inputs = {}, 64
    for i, width in enumerate(WIDTHS):
        weights[f"w{i}"] = uniform(random, inputs, width)
        weights[f"gamma{i}"] = np.ones(width, np.float32)
        weights[f"beta{i}"] = np.zeros(width, np.float32)
        inputs = width
    weights["w_out"] = uniform(random, inputs, CLASSES)
    weights["b_out"] = np.zeros(CLASSES, np.float32)
    return weights


def uniform(random, inputs, outputs):
    bound = np.sqrt(6 / inputs)
    return random.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)


def gradients(weights, pixels, labels, batch_size, layers, step):
    """Of a shard: its part of the whole batch's loss, and of its gradients.

    `layers` are the batch-norm layers; those of gamma and beta are already of
    the whole batch, as the layers' sessions sum them.
    """
    x, inputs = pixels, []
    for i, layer in enumerate(layers):
        inputs.append(x)
        y = layer.forward(step, x @ weights[f"w{i}"], weights[f"gamma{i}"],
                          weights[f"beta{i}"])
        x = np.maximum(y, 0)
    logits = x @ weights["w_out"] + weights["b_out"]
    loss, dy = cross_entropy(logits, labels, batch_size)

    found = {"w_out": x.T @ dy, "b_out": dy.sum(axis=0)}
    dy = dy @ weights["w_out"].T
    for i in reversed(range(len(layers))):
        dx, dgamma, dbeta = layers[i].backward(step, dy * (x > 0))
        found[f"gamma{i}"] = dgamma.astype(np.float32)
        found[f"beta{i}"] = dbeta.astype(np.float32)
        found[f"w{i}"] = inputs[i].T @ dx
        dy, x = dx @ weights[f"w{i}"].T, inputs[i]
    return loss, found


def cross_entropy(logits, labels, batch_size):
    """The shard's part of the mean over the batch, and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    exp = np.exp(shifted)
    total = exp.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = (np.log(total[:, 0]) - shifted[rows, labels]).sum() / batch_size
    gradient = exp / total
    gradient[rows, labels] -= 1
    return float(loss), (gradient / np.float32(batch_size)).astype(np.float32)
