"""fastMRI knee single-coil: raw MR measurements and the images made of all of them."""
