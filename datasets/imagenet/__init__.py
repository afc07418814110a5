"""ImageNet: ILSVRC2012 photographs of 1,000 classes, and ImageNet-v2 as test set."""
