"""`algoperf.probe.Probe` in numpy, for the linear softmax classifier of the toy benchmark."""

import numpy as np

from algoperf.probe import NotMeasurable, Point, Relabelled, Sample, draw_labels
from algoperf.probe_base import ProbeBase
from algoperf.probe_chunks import Chunk


class ToyProbe(ProbeBase):
    """Everything by formula: gradients are inputs times (probabilities - labels)."""

    names = ("weight", "bias")

    def __init__(self, objective, *, couples_examples=False):
        super().__init__(objective)
        shapes = objective.workload.param_shapes.values()
        self.num_parameters = sum(int(np.prod(s.shape_tuple)) for s in shapes)
        self.couples_examples = couples_examples

    def copy(self, params, model_state):
        return Point({name: np.array(params[name]) for name in self.names}, model_state)

    def held(self, params):
        return {name: params[name] for name in self.names}

    def copy_sample(self, sample):
        return Sample({k: np.array(v) for k, v in sample.batch.items()}, sample.key)

    def dots(self, a, b):
        return np.array([np.sum(a[name] * b[name]) for name in self.names])

    def combine(self, a, x, b, y):
        return {name: a * x[name] + b * y[name] for name in self.names}

    def from_numpy(self, arrays):
        return dict(arrays)

    def to_numpy(self, vector):
        return dict(vector)

    def summed(self, point, sample):
        summed, valid = self.objective(point.values, None, sample.batch, sample.key)
        return summed, float(valid)

    def batch_gradient(self, point, sample):
        summed, valid = self.summed(point, sample)
        grads = self._gradients(point, sample, np.arange(len(summed)))
        return summed, valid, {name: grads[name].mean(0) for name in self.names}

    def batch_slopes(self, point, sample, directions):
        summed, valid = self.summed(point, sample)
        grads = self._gradients(point, sample, np.arange(len(summed)))
        self.routes["slopes"] = "formula"
        slopes = [
            sum(
                (grads[n] * direction[n]).reshape(len(summed), -1).sum(1)
                for n in self.names
            )
            for direction in directions
        ]
        return summed, np.stack(slopes, 1), valid

    def _probabilities(self, point, sample):
        logits = self.objective.logits(point.values, None, sample.batch, sample.key)
        return self.objective.workload.output_activation_fn(logits)

    def _gradients(self, point, sample, indices):
        errors = np.array(self._probabilities(point, sample))
        errors[np.arange(len(errors)), sample.batch["targets"]] -= 1
        errors, inputs = errors[indices], sample.batch["inputs"][indices]
        return {"weight": inputs[:, :, None] * errors[:, None], "bias": errors}

    def chunk(self, point, sample, request):
        grads = self._gradients(point, sample, request.indices)
        weights = request.weights
        grads = {n: (g.T * weights).T for n, g in grads.items()}
        flat = {n: g.reshape(len(g), -1) for n, g in grads.items()}
        products = [
            sum(flat[n] @ d[n].ravel() for n in flat) for d in request.directions
        ]
        return Chunk(
            losses=self.summed(point, sample)[0][request.indices] * weights,
            squared_norms=sum((g**2).sum(1) for g in flat.values()),
            products=np.stack(products, 1) if products else np.zeros((len(weights), 0)),
            total={n: g.sum(0) for n, g in grads.items()},
            squares={n: (g**2).sum(0) for n, g in grads.items()}
            if request.squares
            else None,
            gradients=grads if request.keep_gradients else None,
        )

    def are_rows(self, sample, num_rows):
        return True

    def hessian(self, point, sample):
        if self.couples_examples:
            raise NotMeasurable("the toy has no second derivative of coupled losses")
        return self.ggn(point, sample)

    def ggn(self, point, sample):
        chances, inputs = self._probabilities(point, sample), sample.batch["inputs"]

        def product(vector):
            tangents = inputs @ vector["weight"] + vector["bias"]
            mean = (chances * tangents).sum(1, keepdims=True)
            curved = chances * (tangents - mean) / len(inputs)
            return {"weight": inputs.T @ curved, "bias": curved.sum(0)}

        return product

    def relabelled(self, point, sample, seed):
        labels = draw_labels(
            self.objective.workload.loss_type,
            lambda: self._probabilities(point, sample),
            np.random.default_rng(seed).random,
        )
        return Relabelled(Sample({**sample.batch, "targets": labels}, sample.key), 1.0)
