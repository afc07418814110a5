"""Makes the files in embedded/ from recordings that two Debian packages hold.

    apt-get download asterisk-core-sounds-en-g722 pocketsphinx-testdata
    dpkg -x asterisk-core-sounds-en-g722_*.deb root && dpkg -x pocketsphinx-*.deb root
    python -m algoperf.datasets.librispeech.make_embedded root

Versions 1.6.1-1 and 0.8+5prealpha+1-15. Needs ffmpeg (for G.722) and soundfile. Each clip
loses the silence around it; all clips of a speaker lie behind each other in one Ogg Opus
file, and clips.json says where, and what is said.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from .clips import EMBEDDED, TABLE
from .reader import SAMPLE_RATE

_ASTERISK = "usr/share/asterisk/sounds/en_US_f_Allison"
_SPHINX = "usr/share/pocketsphinx/test/data"
_NUMBERS = (
    *("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE"),
    *("SIX", "SEVEN", "EIGHT", "NINE", "TEN"),
)
_CLIPS = {
    "allison": {
        **{
            word: f"{_ASTERISK}/digits/{digit}.g722"
            for digit, word in enumerate(_NUMBERS)
        },
        "OH": f"{_ASTERISK}/digits/oh.g722",
        "HUNDRED": f"{_ASTERISK}/digits/hundred.g722",
        "O'CLOCK": f"{_ASTERISK}/digits/oclock.g722",
        "TODAY": f"{_ASTERISK}/digits/today.g722",
        "STAR": f"{_ASTERISK}/digits/star.g722",
        "POUND": f"{_ASTERISK}/digits/pound.g722",
        "PRESS": f"{_ASTERISK}/vm-press.g722",
        "MESSAGE": f"{_ASTERISK}/vm-message.g722",
        "MESSAGES": f"{_ASTERISK}/vm-messages.g722",
        "NEW": f"{_ASTERISK}/vm-INBOX.g722",
        "OLD": f"{_ASTERISK}/vm-Old.g722",
        "GOODBYE": f"{_ASTERISK}/goodbye.g722",
        "I'M SORRY": f"{_ASTERISK}/im-sorry.g722",
    },
    "sphinx": {
        "TEN OF CLUBS": f"{_SPHINX}/cards/001.wav",
        "FOUR QUEEN OF CLUBS": f"{_SPHINX}/cards/002.wav",
        "SEVEN OF CLUBS": f"{_SPHINX}/cards/003.wav",
        "FIVE FIVE": f"{_SPHINX}/cards/004.wav",
        "GO FORWARD TEN METERS": f"{_SPHINX}/goforward.raw",
    },
}
_FORMATS = {".g722": ["-f", "g722"], ".raw": ["-f", "s16le", "-ar", "16000"]}
_SILENCE = 0.03  # of the largest short-time amplitude
_WINDOW = SAMPLE_RATE // 50
_MARGIN = SAMPLE_RATE // 100
_GAP = SAMPLE_RATE // 10


def decode(path: Path) -> np.ndarray:
    """The samples of a recording, int16 at 16 kHz, by ffmpeg."""
    command = [
        "ffmpeg",
        "-nostdin",
        "-loglevel",
        "error",
        *_FORMATS.get(path.suffix, []),
    ]
    command += [
        "-i",
        str(path),
        "-f",
        "s16le",
        "-ac",
        "1",
        "-ar",
        str(SAMPLE_RATE),
        "-",
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(output, "<i2")


def trim(samples: np.ndarray) -> np.ndarray:
    """The samples without the silence at both ends."""
    window = np.full(_WINDOW, 1 / _WINDOW)
    power = np.convolve(samples.astype(np.float64) ** 2, window, "same")
    loud = np.flatnonzero(power > _SILENCE**2 * power.max())
    return samples[max(loud[0] - _MARGIN, 0) : loud[-1] + _MARGIN]


def make_embedded(root: Path, folder: Path) -> None:
    """Writes one Ogg Opus file a speaker, and the table of their clips."""
    table = {}
    for speaker, paths in _CLIPS.items():
        pieces, rows, start = [], [], 0
        for text, name in paths.items():
            clip = trim(decode(root / name))
            rows.append([text, start, len(clip)])
            pieces += [clip, np.zeros(_GAP, np.int16)]
            start += len(clip) + _GAP
        soundfile.write(
            folder / f"{speaker}.ogg",
            np.concatenate(pieces),
            SAMPLE_RATE,
            format="OGG",
            subtype="OPUS",
        )
        table[speaker] = rows
    lines = json.dumps(table, indent=1)
    (folder / TABLE).write_text(lines + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="where both packages are unpacked")
    make_embedded(parser.parse_args().root, EMBEDDED)
