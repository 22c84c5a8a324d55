from pathlib import Path

from toy import ran, value

VERSION = 0

ran("prepare")
out = Path("data/prepare")
out.mkdir(parents=True)
(out / "pairs.txt").write_text(
    f"core {value('prepare', 'user_core')} v{VERSION} {Path('data/raw.txt').read_text()}"
)
