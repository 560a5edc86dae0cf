"""A checkpoint's weights in torchvision's and transformers' modules."""

import torch
import torchvision
from transformers import BertConfig, BertForMaskedLM


def check_opens_in_python(tensors, layers, hidden, heads):
    """ResNet-18 and BERT load them by name, with none missing and none left over."""
    def part(prefix):
        return {name[len(prefix):]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    backbone = torchvision.models.resnet18()
    backbone.fc = torch.nn.Identity()
    backbone.load_state_dict(part("backbone."), strict=True)
    bert = BertForMaskedLM(BertConfig(vocab_size=tensors["bert.embeddings.word_embeddings.weight"].shape[0],
                                      hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                                      intermediate_size=4 * hidden))
    state = {name: tensor for name, tensor in tensors.items() if name.startswith(("bert.", "cls."))}
    # As transformers also saves it: the type embedding is part of the positions, the decoder is the word embedding.
    state["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, hidden)
    state["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    state["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    bert.load_state_dict(state, strict=True)
