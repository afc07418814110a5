"""CIFAR-100: photographs of 32x32 pixels, 100 classes."""
