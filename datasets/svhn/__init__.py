"""SVHN: cropped house numbers, 32x32 pixels, ten digits."""
