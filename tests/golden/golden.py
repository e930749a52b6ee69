"""What the golden makers share: run a checkpoint folder in transformers and write what it computes.

README.md in this folder documents the files that this writes.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import DeepseekV2ForCausalLM, DeepseekV3ForCausalLM
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3TopkRouter

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "examples" / "demo_model"
sys.path.insert(0, str(DEMO))

import checkpoint

torch.set_num_threads(1)  # small tensors: threads would only wait for each other
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

MODELS = {"deepseek_v2": DeepseekV2ForCausalLM, "deepseek_v3": DeepseekV3ForCausalLM}
ROUTERS = (DeepseekV2TopkRouter, DeepseekV3TopkRouter)


def load_models(folder):
    """(float32 model, bfloat16 model, dequantised state) of a checkpoint folder, both with eager arithmetic."""
    config, state = checkpoint.load_dequantised(folder)
    config.pop("quantization_config", None)
    models = []
    with tempfile.TemporaryDirectory() as plain:
        checkpoint.save_checkpoint(plain, config, {name: tensor.float() for name, tensor in state.items()})
        for dtype in (torch.float32, torch.bfloat16):
            model, info = MODELS[config["model_type"]].from_pretrained(
                plain,
                dtype=dtype,
                attn_implementation="eager",
                experts_implementation="eager",
                output_loading_info=True,
            )
            mtp = f"model.layers.{config['num_hidden_layers']}."
            unexpected = [key for key in info["unexpected_keys"] if not key.startswith(mtp)]
            if info["missing_keys"] or unexpected:
                raise SystemExit(f"{folder}: missing {info['missing_keys']}, unexpected {unexpected}")
            models.append(model.eval())
    return *models, state


def choice_lead(router, logits):
    """By how much the last kept group and expert beat the first left out, the smaller of the two, [rows]."""
    if isinstance(router, DeepseekV2TopkRouter):  # a group scores its best expert
        scored, counted = logits.float().softmax(-1), 1
    else:
        scored, counted = logits.float().sigmoid() + router.e_score_correction_bias, 2
    groups = scored.view(len(scored), router.num_group, -1)
    group_scores = groups.topk(counted).values.sum(-1)
    scores = group_scores.sort(descending=True).values
    lead = torch.full((len(scored),), float("inf"))
    if router.topk_group < router.num_group:
        lead = scores[:, router.topk_group - 1] - scores[:, router.topk_group]
    kept = group_scores.topk(router.topk_group).indices
    chosen = groups.gather(1, kept[..., None].expand(-1, -1, groups.shape[-1])).flatten(1).sort(descending=True).values
    if router.top_k < chosen.shape[1]:
        lead = lead.minimum(chosen[:, router.top_k - 1] - chosen[:, router.top_k])
    return lead


class router_log:
    """Records what every router of `model` (in layer order) chooses while the `with` block runs."""

    def __init__(self, model):
        self.routers = [module for module in model.modules() if isinstance(module, ROUTERS)]

    def __enter__(self):
        self.choices, self.leads = [], []
        self.handles = [router.register_forward_hook(self.record) for router in self.routers]
        return self

    def record(self, router, args, out):
        logits, weights, experts = out
        self.choices.append((experts, weights))
        batch = args[0].shape[0]
        self.leads.append(choice_lead(router, logits.reshape(batch, -1, router.num_experts)[:, -1]))

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def lead(self):
        """How far each row's last token is from other experts: the least lead over all layers, [batch]."""
        return torch.stack(self.leads).amin(0)

    def sorted_choices(self):
        """(experts, weights), each float32 [moe_layers, tokens, top_k], by ascending expert."""
        experts, order = torch.stack([experts for experts, _ in self.choices]).sort(-1)
        weights = torch.stack([weights for _, weights in self.choices]).gather(-1, order)
        return experts.float(), weights.float()


@torch.no_grad()
def forward(model, ids):
    """Logits [tokens, vocab] of one whole prompt, without a cache, in the model's dtype."""
    return model(torch.tensor([ids]), use_cache=False).logits[0]


@torch.no_grad()
def greedy(model, ids, count, eos=None):
    """Up to `count` arg-max tokens with the KV cache, and the smallest lead of a winner over its runner-up."""
    tokens, lead, cache, step = [], float("inf"), None, torch.tensor([ids])
    while len(tokens) < count:
        out = model(step, past_key_values=cache, use_cache=True)
        top = out.logits[0, -1].float().topk(2)
        lead = min(lead, (top.values[0] - top.values[1]).item())
        tokens.append(top.indices[0].item())
        if tokens[-1] == eos:
            break
        cache, step = out.past_key_values, torch.tensor([tokens[-1:]])
    return tokens, lead


class mtp_module:
    """The MTP layer as model-spec section 10 says it, on the float32 model's embedding, head and rotary tables."""

    def __init__(self, model, state):
        config, self.model = model.config, model
        prefix = f"model.layers.{config.num_hidden_layers}."
        self.own = {name.removeprefix(prefix): t.float() for name, t in state.items() if name.startswith(prefix)}
        self.layer = DeepseekV3DecoderLayer(config, config.num_hidden_layers).eval()
        own = dict(self.own)
        experts = range(config.n_routed_experts)
        part = lambda kind: torch.stack([own[f"mlp.experts.{e}.{kind}_proj.weight"] for e in experts])
        own["mlp.experts.gate_up_proj"] = torch.cat([part("gate"), part("up")], dim=1)
        own["mlp.experts.down_proj"] = part("down")
        self.layer.load_state_dict({name: own[name] for name in self.layer.state_dict()})
        self.layer.self_attn.config._attn_implementation = "eager"

    def norm(self, x, name):
        return self.own[name] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.model.config.rms_norm_eps))

    @torch.no_grad()
    def logits(self, ids):
        """[tokens - 1, vocab]: row i predicts token i+2 from post-norm hidden state i and the embedding of i+1."""
        ids = torch.tensor([ids])
        hidden = self.model.model(ids, use_cache=False).last_hidden_state[:, :-1]
        embedded = self.model.model.embed_tokens(ids[:, 1:])
        rows = hidden.shape[1]
        x = torch.cat([self.norm(embedded, "enorm.weight"), self.norm(hidden, "hnorm.weight")], dim=-1)
        x = x @ self.own["eh_proj.weight"].T
        mask = torch.full((rows, rows), float("-inf")).triu(1)[None, None]
        rotary = self.model.model.rotary_emb(x, torch.arange(rows)[None])
        x = self.layer(x, attention_mask=mask, position_embeddings=rotary)
        return self.model.lm_head(self.norm(x, "shared_head.norm.weight"))[0]


def write(folder, tensors, record):
    """golden.safetensors (floats) and golden.json (ids and provenance) of one checkpoint."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "golden.safetensors")
    record["provenance"] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **record["provenance"],
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    # One line per list of numbers keeps the file readable and its diffs short.
    text = re.sub(r"\[\s+([-\d.,\se+]+?)\s+\]", lambda m: "[" + " ".join(m.group(1).split()) + "]", text)
    (folder / "golden.json").write_text(text + "\n", encoding="utf-8")
