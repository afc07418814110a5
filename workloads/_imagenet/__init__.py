"""What both ImageNet workloads share: the input pipeline."""
