"""Speech recognition on LibriSpeech with a Conformer."""
