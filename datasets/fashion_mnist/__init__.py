"""Fashion-MNIST: clothes, 28x28 pixels, ten classes; in MNIST's format."""
