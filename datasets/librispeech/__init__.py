"""LibriSpeech: read English speech with transcripts, 16 kHz."""
