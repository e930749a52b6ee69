"""Checkpoints as Hugging Face publishes DeepSeek-R1: block-quantised FP8 linears, sharded safetensors, an index.

Used by train.py to export and by tests/golden to make and to read fixtures. Model-spec sections 2 and 9.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

BLOCK = 128
E4M3_MAX = 448.0
QUANTIZATION_CONFIG = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [BLOCK, BLOCK],
}
# Every linear layer inside a decoder layer; the router, eh_proj, norms, embedding and head stay as they are.
QUANTISED = re.compile(r"\.(self_attn\.\w+_proj(_with_mqa)?|mlp\..*(gate|up|down)_proj)\.weight$")


def block_scales(weight):
    """The scale of each 128x128 block of a float32 [out, in] matrix: its largest magnitude over 448."""
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    return blocks.abs().amax(dim=(1, 3)).clamp(min=1e-12) / E4M3_MAX


def expand_scales(scales, shape):
    """Repeats [ceil(out/128), ceil(in/128)] block scales to one number per element of `shape`."""
    return scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[: shape[0], : shape[1]]


def quantise(weight):
    """A float32 matrix as (e4m3 codes, float32 block scales)."""
    scales = block_scales(weight)
    return (weight / expand_scales(scales, weight.shape)).to(torch.float8_e4m3fn), scales


def dequantise(codes, scales):
    """The float32 matrix that (codes, scales) stand for; despite `weight_scale_inv` the scale is multiplied."""
    return codes.to(torch.float32) * expand_scales(scales, codes.shape)


def quantise_state(state):
    """Replaces each quantised linear's float weight by its FP8 codes and `weight_scale_inv`."""
    result = {}
    for name, tensor in state.items():
        if QUANTISED.search(name):
            codes, scales = quantise(tensor.float())
            result[name] = codes
            result[name + "_scale_inv"] = scales
        else:
            result[name] = tensor
    return result


def as_bf16(state):
    """BF16 for all but FP8 codes, their scales and the correction biases, which stay float32."""
    keep = lambda name, t: t.dtype == torch.float8_e4m3fn or name.endswith(("_scale_inv", "_bias"))
    return {name: t if keep(name, t) else t.bfloat16() for name, t in state.items()}


def save_checkpoint(folder, config, state, shards=1):
    """Writes config.json and the tensors: model.safetensors, or shards of about equal size and an index."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    state = {name: tensor.contiguous().cpu() for name, tensor in state.items()}
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    total = sum(tensor.nbytes for tensor in state.values())
    parts, seen = [{} for _ in range(shards)], 0
    for name, tensor in state.items():
        parts[min(shards - 1, seen * shards // total)][name] = tensor
        seen += tensor.nbytes
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{shards:06d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def load_dequantised(folder):
    """(config, state) of a checkpoint folder, FP8 tensors dequantised to float32, others in their own dtype."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    raw = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        raw.update(load_file(shard))
    state = {}
    for name, tensor in raw.items():
        if name.endswith("_scale_inv"):
            continue
        scales = raw.get(name + "_scale_inv")
        state[name] = tensor if scales is None else dequantise(tensor, scales)
    return config, state


def write_json(path, value, **options):
    options.setdefault("indent", 2)
    Path(path).write_text(json.dumps(value, ensure_ascii=False, **options) + "\n", encoding="utf-8")
