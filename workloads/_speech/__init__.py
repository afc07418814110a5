"""What the two LibriSpeech workloads share: audio front end, masking, subsampling, outputs."""
