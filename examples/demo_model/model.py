"""DeepSeek-V3's architecture for training: flat token streams, every linear's weight seen through FP8.

Numerically the model of model-spec sections 3 to 7 and 10, arranged for speed: documents lie one after another in a
flat [tokens] stream, all experts of a layer are one wide matrix, and an expert not chosen has weight 0.
The names in `Layer` are those of the checkpoint; `export_state` cuts the wide matrices back into experts.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import checkpoint

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "kv_lora_rank": 512,
    "max_position_embeddings": 4096,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 128,
    "moe_layer_freq": 1,
    "n_group": 4,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 6,
    "num_key_value_heads": 4,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": checkpoint.QUANTIZATION_CONFIG,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 4,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 1024,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "use_cache": True,
    "v_head_dim": 128,
    "vocab_size": 1280,
}
C = CONFIG
HEADS, NOPE, ROPE, VALUE = C["num_attention_heads"], C["qk_nope_head_dim"], C["qk_rope_head_dim"], C["v_head_dim"]
LATENT, EXPERTS, WIDTH = C["kv_lora_rank"], C["n_routed_experts"], C["moe_intermediate_size"]
DOCUMENT_TOKENS_MAX = 1024


def yarn():
    """(inverse frequencies, softmax scale) of model-spec 5.1 and 5.3."""
    s = C["rope_scaling"]
    base, length, factor = C["rope_theta"], s["original_max_position_embeddings"], s["factor"]
    correction = lambda turns: ROPE * math.log(length / (2 * math.pi * turns)) / (2 * math.log(base))
    low, high = max(math.floor(correction(s["beta_fast"])), 0), min(math.ceil(correction(s["beta_slow"])), ROPE - 1)
    i = torch.arange(ROPE // 2, dtype=torch.float32)
    plain = base ** (-2 * i / ROPE)
    ramp = ((i - low) / (high - low)).clamp(0, 1)
    g = 0.1 * s["mscale_all_dim"] * math.log(factor) + 1
    return plain / factor * ramp + plain * (1 - ramp), (NOPE + ROPE) ** -0.5 * g * g


def rms_norm(x, weight):
    return F.rms_norm(x.float(), x.shape[-1:], eps=C["rms_norm_eps"]).to(x.dtype) * weight


def rotate(x, cos, sin):
    """Rotates adjacent channel pairs of [tokens, heads, 64]; evens first in the result, as transformers has it."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q, k, v, starts, scale):
    """Causal attention inside each document of the flat stream; `starts` are cumulative document lengths."""
    if q.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        v = F.pad(v, (0, q.shape[-1] - VALUE))
        limit = DOCUMENT_TOKENS_MAX
        return varlen_attn(q, k, v, starts, starts, limit, limit, scale=scale, window_size=(-1, 0))[..., :VALUE]
    position = torch.arange(len(q))
    document = torch.bucketize(position, starts[1:], right=True)
    mask = (document[:, None] == document) & (position[:, None] >= position)
    q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask, scale=scale).transpose(0, 1)


def largest(values, count):
    """Which of the last dimension are among its `count` largest; the lower index wins a tie."""
    i = torch.arange(values.shape[-1], device=values.device)
    mine, other = values[..., :, None], values[..., None, :]
    beats = (other > mine) | ((other == mine) & (i[None, :] < i[:, None]))
    return beats.sum(-1) < count


def route(scores, bias):
    """noaux_tc (model-spec 7.2): the weight of each expert, 0 for those not chosen, [tokens, experts]."""
    biased = scores.detach() + bias
    groups = biased.view(len(biased), C["n_group"], -1)
    strength = (groups * largest(groups, 2)).sum(-1)
    allowed = largest(strength, C["topk_group"])[..., None].expand_as(groups).reshape(biased.shape)
    chosen = largest(biased.masked_fill(~allowed, -torch.inf), C["num_experts_per_tok"])
    weights = scores * chosen
    return weights / (weights.sum(-1, keepdim=True) + 1e-20) * C["routed_scaling_factor"]


class Layer(nn.Module):
    def __init__(self, dense):
        super().__init__()
        hidden, rank = C["hidden_size"], C["q_lora_rank"]
        width = C["intermediate_size"] if dense else (EXPERTS + C["n_shared_experts"]) * WIDTH
        # The residual stream collects 2 * layers branches: start each of them small.
        branch = (2 * C["num_hidden_layers"]) ** -0.5
        matrix = lambda rows, columns, gain=1.0: nn.Parameter(torch.randn(rows, columns) * gain * columns**-0.5)
        self.input_layernorm = nn.Parameter(torch.ones(hidden))
        self.post_attention_layernorm = nn.Parameter(torch.ones(hidden))
        self.q_a_proj, self.q_b_proj = matrix(rank, hidden), matrix(HEADS * (NOPE + ROPE), rank)
        self.q_a_layernorm = nn.Parameter(torch.ones(rank))
        self.kv_a_proj_with_mqa = matrix(LATENT + ROPE, hidden)
        self.kv_a_layernorm = nn.Parameter(torch.ones(LATENT))
        self.kv_b_proj, self.o_proj = matrix(HEADS * (NOPE + VALUE), LATENT), matrix(hidden, HEADS * VALUE, branch)
        self.gate_proj, self.up_proj = matrix(width, hidden), matrix(width, hidden)
        self.down_proj = nn.Parameter(torch.randn(hidden, width) * branch * (width if dense else 4 * WIDTH) ** -0.5)
        self.dense = dense
        if not dense:
            self.router = nn.Parameter(torch.randn(EXPERTS, hidden) * hidden**-0.5)
            self.register_buffer("bias", torch.ones(EXPERTS))

    def attention(self, x, cos, sin, starts, scale):
        q = rms_norm(x @ self.q_a_proj.T, self.q_a_layernorm) @ self.q_b_proj.T
        q_nope, q_rope = q.view(-1, HEADS, NOPE + ROPE).split([NOPE, ROPE], -1)
        latent, k_rope = (x @ self.kv_a_proj_with_mqa.T).split([LATENT, ROPE], -1)
        kv = rms_norm(latent, self.kv_a_layernorm) @ self.kv_b_proj.T
        k_nope, v = kv.view(-1, HEADS, NOPE + VALUE).split([NOPE, VALUE], -1)
        k_rope = rotate(k_rope[:, None], cos, sin).expand(-1, HEADS, -1)
        q, k = torch.cat([q_nope, rotate(q_rope, cos, sin)], -1), torch.cat([k_nope, k_rope], -1)
        return attend(q, k, v.contiguous(), starts, scale).reshape(len(x), -1) @ self.o_proj.T

    def feed_forward(self, x):
        """The MLP's output and how many tokens chose each expert (none in a dense layer)."""
        inner = F.silu(x @ self.gate_proj.T) * (x @ self.up_proj.T)
        if self.dense:
            return inner @ self.down_proj.T, None
        weights = route(torch.sigmoid(x.float() @ self.router.float().T), self.bias)
        load = (weights.detach() > 0).sum(0)
        weights = F.pad(weights, (0, C["n_shared_experts"]), value=1.0).to(inner.dtype)
        inner = (inner.view(len(x), -1, WIDTH) * weights[..., None]).flatten(1)
        return inner @ self.down_proj.T, load

    def forward(self, x, cos, sin, starts, scale):
        x = x + self.attention(rms_norm(x, self.input_layernorm), cos, sin, starts, scale)
        out, load = self.feed_forward(rms_norm(x, self.post_attention_layernorm))
        return x + out, load


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, vocab, layers = C["hidden_size"], C["vocab_size"], C["num_hidden_layers"]
        self.embed_tokens = nn.Parameter(torch.randn(vocab, hidden) * 0.1)
        self.lm_head = nn.Parameter(torch.randn(vocab, hidden) * 0.02)
        self.norm = nn.Parameter(torch.ones(hidden))
        self.layers = nn.ModuleList(Layer(i < C["first_k_dense_replace"]) for i in range(layers + 1))
        self.enorm, self.hnorm = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))
        self.shared_head_norm = nn.Parameter(torch.ones(hidden))
        self.eh_proj = nn.Parameter(torch.randn(hidden, 2 * hidden) * (2 * hidden) ** -0.5)
        frequencies, self.scale = yarn()
        self.register_buffer("frequencies", frequencies)

    def forward(self, ids, positions, starts):
        """Logits and MTP logits, [tokens, vocab], and each MoE layer's expert loads; MTP row i predicts token i+2."""
        angles = positions.float()[:, None, None] * self.frequencies.float()
        cos, sin = angles.cos().to(self.lm_head.dtype), angles.sin().to(self.lm_head.dtype)
        embedded, loads = F.embedding(ids, self.embed_tokens), []
        x = embedded
        for layer in self.layers[:-1]:
            x, load = layer(x, cos, sin, starts, self.scale)
            loads.append(load)
        x = rms_norm(x, self.norm)
        pair = [rms_norm(embedded.roll(-1, 0), self.enorm), rms_norm(x, self.hnorm)]
        ahead, load = self.layers[-1](torch.cat(pair, -1) @ self.eh_proj.T, cos, sin, starts, self.scale)
        ahead = rms_norm(ahead, self.shared_head_norm)
        return x @ self.lm_head.T, ahead @ self.lm_head.T, [load for load in [*loads, load] if load is not None]


def is_quantised(name):
    """Whether the checkpoint keeps this parameter in FP8."""
    return name.startswith("layers.") and name.endswith(("_proj", "_with_mqa"))


def export_state(masters, biases):
    """The checkpoint's tensors from named float32 parameters and the correction bias of each MoE layer."""
    state = {}
    layers = C["num_hidden_layers"]
    top = {"embed_tokens": "model.embed_tokens", "lm_head": "lm_head", "norm": "model.norm"}
    mtp = {"enorm": "enorm", "hnorm": "hnorm", "eh_proj": "eh_proj", "shared_head_norm": "shared_head.norm"}

    def cut(prefix, name, tensor):
        """gate, up and down of an MoE layer as one tensor per expert."""
        parts = tensor.split(WIDTH, dim=1 if name == "down_proj" else 0)
        for e in range(EXPERTS):
            state[f"{prefix}.mlp.experts.{e}.{name}.weight"] = parts[e]
        state[f"{prefix}.mlp.shared_experts.{name}.weight"] = torch.cat(
            parts[EXPERTS:], 1 if name == "down_proj" else 0
        )

    for full, tensor in masters.items():
        if full in top:
            state[top[full] + ".weight"] = tensor
            continue
        if full in mtp:
            state[f"model.layers.{layers}.{mtp[full]}.weight"] = tensor
            continue
        _, i, name = full.split(".")
        prefix = f"model.layers.{i}"
        if name == "router":
            state[prefix + ".mlp.gate.weight"] = tensor
            state[prefix + ".mlp.gate.e_score_correction_bias"] = biases[int(i)].float()
        elif name in ("gate_proj", "up_proj", "down_proj"):
            if int(i) < C["first_k_dense_replace"]:
                state[f"{prefix}.mlp.{name}.weight"] = tensor
            else:
                cut(prefix, name, tensor)
        elif name in ("input_layernorm", "post_attention_layernorm"):
            state[f"{prefix}.{name}.weight"] = tensor
        else:
            state[f"{prefix}.self_attn.{name}.weight"] = tensor
    state = {name: tensor.detach().float().contiguous() for name, tensor in state.items()}
    return checkpoint.as_bf16(checkpoint.quantise_state(state))
