"""MNIST digits with a small multi-layer perceptron: a development workload."""
