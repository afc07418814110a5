"""What the two LibriSpeech workloads share: input pipeline, front end, masking, metrics."""
