"""ImageNet images with a vision transformer."""
