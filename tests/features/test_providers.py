"""The two providers, an endpoint and a causal model, and the cache of their answers."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from glta.features.settings import ProfileSettings
from glta.features.text.cache import Cached
from glta.features.text.endpoint import Endpoint
from glta.features.text.providers import make_provider
from glta.nn.language.causal import CausalModel
from tests.tiny import without, write_causal, write_encoder, write_masked


class Server(ThreadingHTTPServer):
    """Answers with `replies` (status, body) in turn, and with the last one from then on.

    `asked` keeps path, body and key of all requests.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[tuple[int, object]] = []
        self.asked: list[tuple[str, dict, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, request, self.headers.get("Authorization")))
        replies = self.server.replies
        status, body = (
            (replies.pop(0) if len(replies) > 1 else replies[0]) if replies else (200, None)
        )
        if body is None:
            body = {
                "choices": [{"message": {"content": f"re: {request['messages'][0]['content']}"}}]
            }
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with Server() as running:
        threading.Thread(
            target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        yield running
        running.shutdown()


def endpoint(server, **changes) -> Endpoint:
    return Endpoint(
        f"http://127.0.0.1:{server.server_port}/v1/", "tiny", 16, backoff_seconds=0.001, **changes
    )


def test_endpoint_asks_greedily_and_keeps_the_order(server):
    prompts = [f"prompt {i}" for i in range(20)]
    assert endpoint(server).write(prompts) == [f"re: {prompt}" for prompt in prompts]
    path, request, key = server.asked[0]
    assert path == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("tiny", 0, 16)
    assert key == "Bearer secret-key"


def test_endpoint_without_a_key_sends_none(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    endpoint(server).write(["x"])
    assert server.asked[0][2] is None


def test_endpoint_tries_again(server):
    server.replies = [(503, {"error": "busy"}), (429, {}), (200, None)]
    assert endpoint(server).write(["x"]) == ["re: x"]
    assert len(server.asked) == 3


def test_endpoint_gives_up(server):
    server.replies = [(500, {"error": "broken"})]
    with pytest.raises(ConnectionError, match=r"no answer after 4 tries \(status 500.*broken"):
        endpoint(server).write(["x"])
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"error": "bad key"}, "OPENAI_API_KEY"),
        (404, {"error": "no model tiny"}, r"no model tiny.*profile\.endpoint_model = tiny"),
        (400, {"error": "too long"}, "refused the request.*too long"),
        (200, b"<html>welcome", "no chat completion.*welcome"),
        (200, {"choices": []}, "no chat completion"),
        (200, {"choices": [{"message": {"content": None}}]}, "no chat completion"),
        (200, [], "no chat completion"),
    ],
)
def test_endpoint_explains_what_will_not_pass(server, status, body, message):
    server.replies = [(status, body)]
    with pytest.raises(ValueError, match=message) as caught:
        endpoint(server).write(["x"])
    assert len(server.asked) == 1
    assert "secret-key" not in str(caught.value)


def test_endpoint_without_a_server():
    nobody = Endpoint("http://127.0.0.1:9/v1", "tiny", 16, backoff_seconds=0.001)
    with pytest.raises(ConnectionError, match="check the network"):
        nobody.write(["x"])


def test_endpoint_with_a_wrong_address():
    with pytest.raises((ConnectionError, ValueError), match=r"profile\.endpoint"):
        Endpoint("nonsense", "tiny", 16, backoff_seconds=0.001).write(["x"])


def test_cache_asks_nothing_twice(server, tmp_path):
    cached = Cached(endpoint(server), tmp_path)
    assert cached.write(["a", "b", "a"]) == ["re: a", "re: b", "re: a"]
    assert len(server.asked) == 2
    assert Cached(endpoint(server), tmp_path).write(["b", "a", "c"]) == ["re: b", "re: a", "re: c"]
    assert len(server.asked) == 3
    assert "secret-key" not in "".join(path.read_text() for path in tmp_path.iterdir())


class Countdown:
    """Gives so many answers, and then breaks."""

    batch = 2

    def __init__(self, answers):
        self.identity = {"provider": "countdown"}
        self.left = answers
        self.asked = []

    def write(self, prompts):
        if self.left < len(prompts):
            raise ConnectionError("gone")
        self.left -= len(prompts)
        self.asked += prompts
        return [prompt.upper() for prompt in prompts]


def test_cache_resumes_after_an_interruption(tmp_path):
    prompts = list("abcdefg")
    with pytest.raises(ConnectionError):
        Cached(Countdown(4), tmp_path).write(prompts)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])  # the last line is torn
    second = Countdown(99)
    assert Cached(second, tmp_path).write(prompts) == list("ABCDEFG")
    assert second.asked == list("defg")
    third = Countdown(0)
    assert Cached(third, tmp_path).write(prompts) == list("ABCDEFG")


def test_cache_tells_providers_apart(tmp_path):
    first = Countdown(9)
    other = Countdown(9)
    other.identity = {"provider": "countdown", "max_new_tokens": 5}
    Cached(first, tmp_path).write(["a"])
    Cached(other, tmp_path).write(["a"])
    assert other.asked == ["a"]


CHAT = "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}<answer>"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random two-layer model and a tokenizer of a few words, as safetensors."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [
        "<unk>",
        "<end>",
        "<user>",
        "<answer>",
        "robots",
        "space",
        "tea",
        "garden",
        "likes",
        "person",
        "a",
        "b",
        "c",
        "d",
        ".",
    ]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=40,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=1,
    )
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")
    fast.save_pretrained(folder)
    return folder


def test_causal_model_answers_alike_alone_and_in_a_batch(tiny_model):
    model = CausalModel(str(tiny_model), 8)
    prompts = ["robots", "a b c d likes space", "what person likes tea ."]
    together = model.write(prompts)
    assert together == [model.write([prompt])[0] for prompt in prompts]
    assert together == CausalModel(str(tiny_model), 8).write(prompts)
    assert len(set(together)) > 1
    assert not any("<end>" in answer for answer in together)


def test_causal_model_uses_its_chat_template(tiny_model):
    plain = CausalModel(str(tiny_model), 8)
    chat = CausalModel(str(tiny_model), 8)
    chat.loaded[1].chat_template = CHAT
    assert chat.as_chat("tea") == "<user> tea <answer>"
    assert plain.as_chat("tea") == "tea"
    assert chat.write(["tea"]) == plain.write(["<user> tea <answer>"])


def test_causal_model_is_known_by_its_weights(tiny_model, tmp_path):
    model = CausalModel(str(tiny_model), 8)
    assert len(model.identity["sha256"]) == 64
    assert "loaded" not in vars(model)
    answers = Cached(model, tmp_path).write(["tea"])
    again = CausalModel(str(tiny_model), 8)
    assert Cached(again, tmp_path).write(["tea"]) == answers
    assert "loaded" not in vars(again)


def test_causal_model_is_known_by_its_tokenizer_too(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    before = CausalModel(str(folder), 8).identity
    assert before["sha256"] == CausalModel(str(tiny_model), 8).identity["sha256"]
    (folder / "README.md").write_text("read me")
    assert CausalModel(str(folder), 8).identity == before
    (folder / "chat_template.jinja").write_text(CHAT)
    assert CausalModel(str(folder), 8).identity["sha256"] != before["sha256"]
    with pytest.raises(ValueError, match=rf"expected {before['sha256']} .*generator_sha256"):
        _ = CausalModel(str(folder), 8, before["sha256"]).identity


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: write_encoder(folder), "missing are cls.*name a causal model that has"),
        (lambda folder: write_masked(folder), "reads in both directions"),
        (lambda folder: without(write_causal(folder), "lm_head"), "missing are lm_head.weight"),
        (lambda folder: without(write_causal(folder), "layers.1."), "missing are model.layers.1"),
    ],
    ids=["encoder", "masked", "no head", "no layer"],
)
def test_generator_that_would_write_noise_is_refused(write, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        CausalModel(str(write(tmp_path / "model")), 8).write(["garden robot"])
    assert "\n" not in str(caught.value)


def test_prompts_of_unknown_words_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"profile\.generator = .*does not know 100 %"):
        CausalModel(str(write_causal(tmp_path / "model")), 8).write(["nothing here"])


def test_causal_model_refuses_what_does_not_fit(tiny_model):
    with pytest.raises(ValueError, match="items_shown"):
        CausalModel(str(tiny_model), 8).write(["tea " * 40])


def test_causal_model_refuses_pickled_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="safetensors"):
        CausalModel(str(tmp_path), 8).write(["tea"])


def test_make_provider():
    assert make_provider(ProfileSettings()) is None
    assert make_provider(
        ProfileSettings(
            provider="language_model", generator="x/y", max_new_tokens=9, generator_sha256="a" * 64
        )
    ) == CausalModel("x/y", 9, "a" * 64)
    served = make_provider(
        ProfileSettings(provider="endpoint", endpoint="http://h/v1", endpoint_model="m")
    )
    assert served.identity == {
        "provider": "endpoint",
        "address": "http://h/v1",
        "model": "m",
        "max_new_tokens": 64,
    }
