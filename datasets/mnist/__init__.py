"""MNIST: handwritten digits, 28x28 pixels, ten classes."""
