"""Makes the tiny checkpoints of model-spec section 14 and what transformers computes with them (CPU, float32 and bf16).

build/venv/bin/python tests/golden/make_tiny.py [NAME...]
"""

import random
import sys

import torch

import golden
from golden import HERE, checkpoint

T0 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "kv_lora_rank": 16,
    "max_position_embeddings": 128,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 24,
    "moe_layer_freq": 1,
    "n_group": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "num_nextn_predict_layers": 0,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 4,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 32,
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
    "v_head_dim": 12,
    "vocab_size": 259,
}
T1 = T0 | {
    "first_k_dense_replace": 2,
    "hidden_size": 256,
    "intermediate_size": 384,
    "kv_lora_rank": 128,
    "moe_intermediate_size": 128,
    "n_routed_experts": 16,
    "n_shared_experts": 2,
    "num_attention_heads": 8,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "quantization_config": checkpoint.QUANTIZATION_CONFIG,
    "v_head_dim": 32,
}
# DeepSeek-V2's gate: raw softmax probabilities, times the factor.
V2 = T0 | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "norm_topk_prob": False,
    "scoring_func": "softmax",
}
# name -> (config, storage of the linears, shards)
CASES = {
    "t0": (T0 | {"num_nextn_predict_layers": 1, "torch_dtype": "float32"}, "f32", 1),
    "t1": (T1, "fp8", 2),
    "t0_no_q_lora": (T0 | {"q_lora_rank": None}, "bf16", 1),
    "t0_one_group": (T0 | {"n_group": 1, "topk_group": 1}, "bf16", 1),
    "t0_raw_weights": (T0 | {"norm_topk_prob": False, "routed_scaling_factor": 1.0}, "bf16", 1),
    "t0_no_yarn": (T0 | {"rope_scaling": None}, "bf16", 1),
    "t0_two_shared": (T0 | {"n_shared_experts": 2}, "bf16", 1),
    "t0_v2_greedy": (
        V2 | {"n_group": 1, "topk_group": 1, "topk_method": "greedy", "routed_scaling_factor": 1.0, "q_lora_rank": None},
        "bf16",
        1,
    ),
    "t0_v2_groups": (V2 | {"topk_method": "group_limited_greedy", "routed_scaling_factor": 4.0}, "bf16", 1),
}
PROMPT_LENGTHS = (1, 9, 40, 90)  # 40 and 90 exceed original_max_position_embeddings = 32
GREEDY_TOKENS = 32
# A fixture whose winners lead by less than this could flip under another summation order.
LEAD_MIN = 2e-3
# Prompts are drawn so that every expert (and group) chosen leads by this much, and bf16 rounding does not reroute them.
ROUTER_LEAD_MIN = 0.03
CANDIDATES = 64


def random_state(config, generator):
    """Random float32 weights under R1's tensor names, shaped so that mistakes show (model-spec section 14)."""
    state = {}
    hidden, heads, latent = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]

    def matrix(name, rows, columns, std=None):
        state[name + ".weight"] = torch.randn(rows, columns, generator=generator) * (std or columns**-0.5)

    def norm(name, size):
        state[name + ".weight"] = torch.rand(size, generator=generator) + 0.5

    def mlp(name, width):
        matrix(name + ".gate_proj", width, hidden)
        matrix(name + ".up_proj", width, hidden)
        matrix(name + ".down_proj", hidden, width)

    def layer(i):
        p, attention = f"model.layers.{i}", f"model.layers.{i}.self_attn"
        norm(p + ".input_layernorm", hidden)
        norm(p + ".post_attention_layernorm", hidden)
        if config["q_lora_rank"]:
            matrix(attention + ".q_a_proj", config["q_lora_rank"], hidden)
            norm(attention + ".q_a_layernorm", config["q_lora_rank"])
            matrix(attention + ".q_b_proj", heads * (nope + rope), config["q_lora_rank"])
        else:
            matrix(attention + ".q_proj", heads * (nope + rope), hidden)
        matrix(attention + ".kv_a_proj_with_mqa", latent + rope, hidden)
        norm(attention + ".kv_a_layernorm", latent)
        matrix(attention + ".kv_b_proj", heads * (nope + value), latent)
        matrix(attention + ".o_proj", hidden, heads * value)
        if i < config["first_k_dense_replace"]:
            mlp(p + ".mlp", config["intermediate_size"])
            return
        experts, width = config["n_routed_experts"], config["moe_intermediate_size"]
        matrix(p + ".mlp.gate", experts, hidden, std=1.5 * hidden**-0.5)
        if config["topk_method"] == "noaux_tc":
            bias = torch.randperm(experts, generator=generator) * (1.0 / experts)
            state[p + ".mlp.gate.e_score_correction_bias"] = 1.0 + bias
        for e in range(experts):
            mlp(f"{p}.mlp.experts.{e}", width)
        mlp(p + ".mlp.shared_experts", width * config["n_shared_experts"])

    matrix("model.embed_tokens", config["vocab_size"], hidden, std=1.0)
    for i in range(config["num_hidden_layers"]):
        layer(i)
    norm("model.norm", hidden)
    matrix("lm_head", config["vocab_size"], hidden, std=2 * hidden**-0.5)
    if config["num_nextn_predict_layers"]:
        p = f"model.layers.{config['num_hidden_layers']}"
        layer(config["num_hidden_layers"])
        norm(p + ".enorm", hidden)
        norm(p + ".hnorm", hidden)
        matrix(p + ".eh_proj", hidden, 2 * hidden)
        norm(p + ".shared_head.norm", hidden)
        state[p + ".embed_tokens.weight"] = state["model.embed_tokens.weight"].clone()
        state[p + ".shared_head.head.weight"] = state["lm_head.weight"].clone()
    return state


def stored(state, storage):
    """The state in the dtypes of the file."""
    if storage == "f32":
        return state
    return checkpoint.as_bf16(checkpoint.quantise_state(state) if storage == "fp8" else state)


@torch.no_grad()
def draw_prompt(model, rng, length):
    """BOS and random tokens, each the first of CANDIDATES that every router decides clearly; None if there is none."""
    ids = [0]
    while len(ids) < length:
        candidates = [rng.randrange(3, model.config.vocab_size) for _ in range(CANDIDATES)]
        with golden.router_log(model) as log:
            model(torch.tensor([ids + [c] for c in candidates]), use_cache=False)
        clear = (log.lead() >= ROUTER_LEAD_MIN).nonzero()
        if not len(clear):
            return None
        ids.append(candidates[clear[0]])
    return ids


def make(name, config, storage, shards):
    for seed in range(100):
        folder = HERE / name
        state = random_state(config, torch.Generator().manual_seed(seed))
        checkpoint.save_checkpoint(folder, config, stored(state, storage), shards)
        model, half, state = golden.load_models(folder)
        rng = random.Random(seed)
        tensors, prompts, lead, flips = {}, [], float("inf"), 0
        for p, length in enumerate(PROMPT_LENGTHS):
            ids = draw_prompt(model, rng, length)
            if ids is None:
                lead = 0
                break
            with golden.router_log(model) as log:
                tensors[f"prompt.{p}.logits_f32"] = golden.forward(model, ids)
            tensors[f"prompt.{p}.router_experts"], tensors[f"prompt.{p}.router_weights"] = log.sorted_choices()
            with golden.router_log(half) as log:
                tensors[f"prompt.{p}.logits_bf16"] = golden.forward(half, ids)
            flips += int((log.sorted_choices()[0] != tensors[f"prompt.{p}.router_experts"]).any(-1).sum())
            if config["num_nextn_predict_layers"] and length > 1:
                tensors[f"prompt.{p}.mtp_logits_f32"] = golden.mtp_module(model, state).logits(ids)
            tokens, smallest = golden.greedy(model, ids, GREEDY_TOKENS)
            prompts.append({"ids": ids, "greedy": tokens})
            lead = min(lead, smallest)
        if lead >= LEAD_MIN and not flips:
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear decisions")
    error = max(
        (tensors[f"prompt.{p}.logits_bf16"].float() - tensors[f"prompt.{p}.logits_f32"]).abs().max().item()
        for p in range(len(PROMPT_LENGTHS))
    )
    provenance = {"script": "tests/golden/make_tiny.py", "case": name, "seed": seed, "device": "cpu"}
    record = {"provenance": provenance, "bf16_error_max": error, "greedy_lead_min": lead, "prompts": prompts}
    golden.write(folder, tensors, record)
    scale = tensors["prompt.3.logits_f32"].std().item()
    print(f"{name}: seed {seed}, logit std {scale:.2f}, bf16 error {error:.3g}, greedy lead {lead:.3g}")


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case, *CASES[case])
