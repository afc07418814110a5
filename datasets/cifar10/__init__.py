"""CIFAR-10: photographs of 32x32 pixels, 10 classes."""
