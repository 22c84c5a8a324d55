import json
import sys
from pathlib import Path

from toy import ran

method = sys.argv[1]
ran(f"evaluate@{method}")
model = Path(f"data/models/{method}/model.txt").read_text()
out = Path("data/evaluate") / method
out.mkdir(parents=True, exist_ok=True)
(out / "users.txt").write_text(model)
(out / "metrics.json").write_text(json.dumps({"ndcg@20": int(model.split()[1]) / 100}))
