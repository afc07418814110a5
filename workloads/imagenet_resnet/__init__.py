"""ImageNet images with ResNet-50."""
