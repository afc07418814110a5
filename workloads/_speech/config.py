"""The shape of batches of speech; needs no package, not even numpy."""

from dataclasses import dataclass

# Of the models' front end: a frame needs so many samples, one begins every so many.
_FRAME_SAMPLES, _FRAME_STEP = 401, 160
# Two convolutions of stride 2 halve the frames. With "same" padding a length aligns with
# another one only if they differ by a multiple of 4 frames; and the last valid frame's
# result needs two frames behind it.
_ALIGNED_FRAMES = 4
_FRAMES_BEHIND = 2
_NUM_LENGTHS = 8  # at most so many shapes are compiled


@dataclass(frozen=True)
class DataConfig:
    """The shape of a batch.

    trim_padding: cuts what all utterances of a global batch have as padding, to the
    next of 8 fixed lengths. Valid frames keep their results; random numbers drawn for
    whole arrays (dropout) and the order of sums differ, and there are up to 8 shapes to
    compile, in evaluation too.
    """

    max_samples: int = 320_000  # 20 s
    max_tokens: int = 256
    vocab_size: int = 1_024
    trim_padding: bool = False

    def lengths(self) -> list[int]:
        """The lengths in samples that audio may be padded to, ascending."""
        step = _FRAME_STEP * _ALIGNED_FRAMES
        step *= max(1, self.max_samples // (_NUM_LENGTHS * step))
        lengths = range(self.max_samples, _FRAME_SAMPLES, -step)
        return sorted(lengths[:_NUM_LENGTHS])

    def length_for(self, num_samples: int) -> int:
        """The smallest of `lengths` that keeps all results of so many samples."""
        needed = -(-num_samples // _FRAME_STEP) + _FRAMES_BEHIND
        for length in self.lengths():
            if (length - _FRAME_SAMPLES) // _FRAME_STEP + 1 >= needed:
                return length
        return self.max_samples
