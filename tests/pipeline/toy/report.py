import json
from pathlib import Path

from toy import ran

ran("report")
found = {
    p.parent.name: json.loads(p.read_text())
    for p in sorted(Path("data/evaluate").glob("*/metrics.json"))
}
out = Path("data/report")
out.mkdir(parents=True, exist_ok=True)
(out / "index.html").write_text(str(found))
(out / "metrics.json").write_text(json.dumps(found))
