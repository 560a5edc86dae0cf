"""Which attention kernel LibTorch takes for the model's masks, and the dropout that it really has.

cuDNN's kernel rounds the probability of dropout to a multiple of 1/16 (pytorch#174245), so the program does not use it.
Needs PyTorch with a GPU. Prints one line for each.
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

BATCH, HEADS, WIDTH, KEYS = 64, 12, 64, 128
DROPOUT = 0.1


def measured_dropout():
    """All queries are zero, so each key that counts has the same weight; value i is one in component i alone, so the
    output's component i is zero where key i was dropped."""
    queries = torch.zeros(BATCH, HEADS, KEYS, WIDTH, device="cuda", dtype=torch.bfloat16)
    values = torch.zeros_like(queries)
    values[:, :, torch.arange(WIDTH), torch.arange(WIDTH)] = 1
    mask = torch.zeros(BATCH, 1, 1, KEYS, device="cuda", dtype=torch.bool)
    mask[..., :WIDTH] = True
    output = scaled_dot_product_attention(queries, queries, values, attn_mask=mask, dropout_p=DROPOUT)
    return (output == 0).float().mean().item(), output.float().sum(-1).mean().item()


def main():
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    queries = torch.randn(BATCH, HEADS, 130, WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    mask = torch.ones(BATCH, 1, 1, 130, device="cuda", dtype=torch.bool)
    mask[..., -3:] = False
    for name, with_cudnn in (("as LibTorch chooses", True), ("as the program chooses", False)):
        torch.backends.cuda.enable_cudnn_sdp(with_cudnn)
        choice = SDPBackend(torch._fused_sdp_choice(queries, queries, queries, mask, DROPOUT))
        print(f"{name}: {choice.name}")
    torch.backends.cuda.enable_cudnn_sdp(True)
    for name, backend in (("cuDNN", SDPBackend.CUDNN_ATTENTION), ("efficient", SDPBackend.EFFICIENT_ATTENTION)):
        try:
            with sdpa_kernel(backend):
                dropped, mean = measured_dropout()
        except RuntimeError as error:
            print(f"{name}: refused: {str(error).splitlines()[0]}")
            continue
        print(f"{name}: dropped {dropped:.4f} of {DROPOUT}, mean of the sums {mean:.4f} of 1")
        if name == "efficient":
            assert abs(dropped - DROPOUT) < 2e-3 and abs(mean - 1) < 1e-2, "the program's kernel has another dropout"


main()
