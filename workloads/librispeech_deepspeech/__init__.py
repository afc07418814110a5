"""Speech recognition on LibriSpeech with a DeepSpeech-like recurrent network."""
