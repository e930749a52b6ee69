#!/usr/bin/env python3
"""Writes a checkpoint with R1's dimensions per layer (one dense layer, the others with experts) for `troupe bench load`.

The weights are arbitrary bytes: the model loads, and says nothing sensible.  make_big_checkpoint.py DIR [EXPERTS [LAYERS]]
"""
import json
import os
import pathlib
import sys

SHAPE = dict(hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, num_attention_heads=128,
             q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
             vocab_size=8192, num_hidden_layers=2, first_k_dense_replace=1)
REST = dict(architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", hidden_act="silu", moe_layer_freq=1,
            n_group=8, topk_group=4, topk_method="noaux_tc", num_experts_per_tok=8, n_shared_experts=1,
            norm_topk_prob=True, scoring_func="sigmoid", routed_scaling_factor=2.5, num_key_value_heads=128,
            num_nextn_predict_layers=0, rms_norm_eps=1e-6, rope_theta=10000, max_position_embeddings=4096,
            attention_bias=False, tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=0, eos_token_id=1,
            quantization_config=dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8",
                                     weight_block_size=[128, 128]))
SIZES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}


def tensors(experts):
    c = SHAPE
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    head = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]

    def fp8(name, rows, cols):
        yield name, "F8_E4M3", [rows, cols]
        yield name + "_scale_inv", "F32", [-(-rows // 128), -(-cols // 128)]

    def ffn(prefix, width):
        yield from fp8(prefix + "gate_proj.weight", width, hidden)
        yield from fp8(prefix + "up_proj.weight", width, hidden)
        yield from fp8(prefix + "down_proj.weight", hidden, width)

    yield "model.embed_tokens.weight", "BF16", [c["vocab_size"], hidden]
    yield "model.norm.weight", "BF16", [hidden]
    yield "lm_head.weight", "BF16", [c["vocab_size"], hidden]
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", "BF16", [hidden]
        yield p + "post_attention_layernorm.weight", "BF16", [hidden]
        a = p + "self_attn."
        yield from fp8(a + "q_a_proj.weight", c["q_lora_rank"], hidden)
        yield a + "q_a_layernorm.weight", "BF16", [c["q_lora_rank"]]
        yield from fp8(a + "q_b_proj.weight", heads * head, c["q_lora_rank"])
        yield from fp8(a + "kv_a_proj_with_mqa.weight", latent + c["qk_rope_head_dim"], hidden)
        yield a + "kv_a_layernorm.weight", "BF16", [latent]
        yield from fp8(a + "kv_b_proj.weight", heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), latent)
        yield from fp8(a + "o_proj.weight", hidden, heads * c["v_head_dim"])
        if layer < c["first_k_dense_replace"]:
            yield from ffn(p + "mlp.", c["intermediate_size"])
            continue
        yield p + "mlp.gate.weight", "BF16", [experts, hidden]
        yield p + "mlp.gate.e_score_correction_bias", "F32", [experts]
        yield from ffn(p + "mlp.shared_experts.", c["moe_intermediate_size"])
        for e in range(experts):
            yield from ffn(f"{p}mlp.experts.{e}.", c["moe_intermediate_size"])


def main():
    folder, experts = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 64
    SHAPE["num_hidden_layers"] = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**SHAPE, **REST, "n_routed_experts": experts}))
    header, end = {}, 0
    for name, dtype, shape in tensors(experts):
        size = SIZES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = os.urandom(16 << 20)
    with open(folder / "model.safetensors", "wb", buffering=0) as out:
        out.write(len(text).to_bytes(8, "little") + text)
        while end > 0:
            end -= out.write(block[:min(end, len(block))])


main()
