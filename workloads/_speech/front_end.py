"""Log-mel features of audio, written once for both frameworks against the array API.

`xp` is the array namespace (`jax.numpy`, or `array_api_compat.torch`).
"""

from typing import Any

from . import mel

_ROW = mel.FRAME_STEP // 2  # a frame is five rows of samples, and starts every second
_ROWS_PER_FRAME = mel.WINDOW_LENGTH // _ROW


def log_mel(
    xp: Any, tables: mel.FrontEndTables, signal: Any, paddings: Any
) -> tuple[Any, Any]:
    """Normalised features [batch, frames, 80] and their paddings [batch, frames].

    signal: float32 [batch, samples], 16-bit PCM values, not scaled; paddings: [batch,
    samples], 1 in padding, which is at the end. A frame is padding if all its samples
    are, so that valid frames are one for each 160 samples begun.
    """
    features = unnormalised_log_mel(xp, tables, signal * (1 - paddings))
    return (features - tables.mean) / tables.stddev, frame_paddings(paddings)


def frame_paddings(paddings: Any) -> Any:
    """[batch, frames] from [batch, samples]: those of each frame's first sample."""
    frames = mel.num_frames(paddings.shape[1])
    return paddings[:, : frames * mel.FRAME_STEP : mel.FRAME_STEP]


def unnormalised_log_mel(xp: Any, tables: mel.FrontEndTables, signal: Any) -> Any:
    """ln(max(mel spectrum, 1e-5)), [batch, frames, 80]; signal: see `log_mel`."""
    frames = _frames(xp, signal * mel.SAMPLE_SCALE) * tables.window
    spectrum = xp.fft.rfft(frames, n=mel.FFT_LENGTH, axis=-1)  # [batch, frames, 257]
    power = xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2
    return xp.log(xp.clip(power @ tables.mel_weights, min=mel.MEL_FLOOR))


def _frames(xp: Any, signal: Any) -> Any:
    """Pre-emphasised frames, [batch, frames, 400].

    The published pre-emphasis treats the first value of a frame in a way of its own;
    the window is 0 there, so that any value does.
    """
    num_frames = mel.num_frames(signal.shape[1])
    num_rows = 2 * (num_frames - 1) + _ROWS_PER_FRAME
    signal = signal[:, : num_rows * _ROW]
    emphasised = signal[:, 1:] - mel.PRE_EMPHASIS * signal[:, :-1]
    emphasised = xp.concat([signal[:, :1], emphasised], axis=1)
    rows = xp.reshape(emphasised, (signal.shape[0], num_rows, _ROW))
    last = 2 * num_frames - 1
    parts = [rows[:, first : first + last : 2] for first in range(_ROWS_PER_FRAME)]
    return xp.concat(parts, axis=-1)
