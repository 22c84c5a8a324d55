"""The frozen language model and text generation: the only modules that import transformers and peft."""
