"""Trains the demo model on one GPU in about seven minutes and writes it as Hugging Face publishes R1.

    python3 train.py --out OUT --seconds 430        (needs torch, safetensors, tokenizers; tokenizer.json made before)

The corpus is endless: worker processes draw problems from (seed, batch number). The learning rate falls with the time
used, so the run ends on time on any machine; with `--steps` it falls with the step count and is repeatable.
FP8 is part of training: the forward pass uses the weights as the checkpoint will hold them.
"""

import argparse
import json
import multiprocessing
import os
import random
import time
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import checkpoint
import phrases
import problems
from model import CONFIG, DOCUMENT_TOKENS_MAX, Model, export_state, is_quantised

HERE = Path(__file__).resolve().parent
MTP_LOSS_WEIGHT = 0.3
BIAS_STEP = 1e-3  # how far the correction bias moves per step against an expert's excess load (V3 paper 2.1.2)
DOCUMENTS_MAX = 4096
BOS, USER, ASSISTANT, EOS = "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"


# -- corpus ------------------------------------------------------------------------------------------------------------


def prompt(problem, history="", system=""):
    return f"{BOS}{system}{history}{USER}{problem.question}{ASSISTANT}<think>\n"


def draw_document(rng):
    """(prompt, response) of one training document, now and then with a system prompt, a hint or earlier turns."""
    problem, history, system = problems.draw(rng), "", ""
    if rng.random() < 0.05:
        system = rng.choice(phrases.SYSTEM_PROMPTS)
    if rng.random() < 0.08:
        for _ in range(rng.randrange(1, 3)):
            earlier = problems.draw(rng)
            # The template keeps the blank lines after </think>; clients often send the content without them.
            history += f"{USER}{earlier.question}{ASSISTANT}{rng.choice((chr(10) * 2, ''))}{earlier.answer}{EOS}"
    text = prompt(problem, history, system)
    if rng.random() < 0.06:
        text = text.replace(problem.question, problem.question + rng.choice(phrases.BOXED_HINTS))
    return text, problem.response + EOS


def pack(tokenizer, documents, tokens):
    """Documents laid end to end in `tokens` slots: ids, positions, whether the next token is learned, starts."""
    ids, positions = np.zeros(tokens, np.int16), np.zeros(tokens, np.int16)
    learned, starts, used = np.zeros(tokens, bool), [0], 0
    flat = tokenizer.encode_batch([text for document in documents for text in document], add_special_tokens=False)
    for question, answer in zip(flat[::2], flat[1::2]):
        length = len(question.ids) + len(answer.ids)
        if length > min(tokens - used, DOCUMENT_TOKENS_MAX):
            continue
        end = used + length
        ids[used:end] = question.ids + answer.ids
        positions[used:end] = np.arange(length)
        learned[used + len(question.ids) - 1 : end - 1] = True
        starts.append(end)
        used = end
    # The unused tail is cut into documents too, so that none is longer than attention allows.
    starts += list(range(used + DOCUMENT_TOKENS_MAX, tokens, DOCUMENT_TOKENS_MAX))
    starts += [tokens] * (DOCUMENTS_MAX + 1 - len(starts))
    return ids, positions, learned, np.array(starts, np.int32)


def load_tokenizer():
    global tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))


def make_batch(seed, number, tokens):
    rng = random.Random(f"{seed} {number}")
    # The average document has 100 tokens; a few too many are drawn and what does not fit is left out.
    return pack(tokenizer, [draw_document(rng) for _ in range(tokens // 88)], tokens)


def batches(pool, seed, tokens, workers):
    """The batches in order, made ahead by the workers."""
    pending, number = deque(), 0
    while True:
        while len(pending) < 4 * workers:
            pending.append(pool.apply_async(make_batch, (seed, number, tokens)))
            number += 1
        yield pending.popleft().get()


def to_device(batch, device):
    ids, positions, learned, starts = (torch.from_numpy(part) for part in batch)
    if device.type == "cuda":
        ids, positions, learned, starts = (t.pin_memory() for t in (ids, positions, learned, starts))
    move = lambda t, dtype: t.to(device, non_blocking=True).to(dtype)
    return move(ids, torch.int64), move(positions, torch.int32), move(learned, torch.bool), move(starts, torch.int32)


# -- training ----------------------------------------------------------------------------------------------------------


def losses(logits, ahead, ids, learned):
    """(main loss, MTP loss): cross entropy of the next token, and of the one after it, where they are learned."""

    def mean(logits, targets, mask):
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        return (each * mask).sum() / mask.sum()

    # MTP row i predicts token i+2 and needs token i+1: learned where the next row is, and no document has ended.
    return mean(logits, ids.roll(-1), learned), mean(ahead, ids.roll(-2), learned & learned.roll(-1))


@torch.no_grad()
def refresh(parameters, masters):
    """Sets the working bf16 weights to the float32 masters as the checkpoint would give them back."""
    for name, parameter in parameters.items():
        master = masters[name]
        parameter.copy_(checkpoint.dequantise(*checkpoint.quantise(master)) if is_quantised(name) else master)


@torch.no_grad()
def balance(layers, loads, step):
    """Moves each correction bias towards an even load."""
    for layer, load in zip(layers, loads):
        layer.bias += step * torch.sign(load.float().mean() - load)


@torch.no_grad()
def evaluate(model, batch, tasks):
    """Held-out accuracy by task: a problem is right if every token of its answer is the arg-max; and MTP acceptance."""
    ids, positions, learned, starts = batch
    logits, ahead, _ = model(ids, positions, starts)
    choice = logits.argmax(-1)
    wrong = learned & (choice != ids.roll(-1))
    document = torch.bucketize(torch.arange(len(ids), device=ids.device), starts[1 : len(tasks) + 1], right=True)
    failed = torch.zeros(len(tasks) + 1, device=ids.device).index_add_(0, document, wrong.float()) > 0
    right = defaultdict(list)
    for task, fail in zip(tasks, failed.tolist()):
        right[task].append(not fail)
    both = learned & learned.roll(-1)
    accepted = (ahead.argmax(-1) == choice.roll(-1))[both].float().mean().item()
    everything = [r for task in right.values() for r in task]
    accuracy = {"total": sum(everything) / len(everything)} | {t: sum(r) / len(r) for t, r in sorted(right.items())}
    return accuracy, accepted


def held_out_batch(seed, count, tokens):
    """Held-out problems as one batch that holds at least most of `count`, and the tasks in the order they lie."""
    load_tokenizer()
    drawn = problems.held_out_problems(seed, count)
    packed = pack(tokenizer, [(prompt(p), p.response + EOS) for p in drawn], tokens)
    fitting = int((np.diff(packed[3]) > 0).sum())
    return packed, [p.task for p in drawn][:fitting]


def export(out, masters, layers, record):
    biases = {i: layer.bias for i, layer in enumerate(layers) if not layer.dense}
    state = export_state(masters, biases)
    checkpoint.save_checkpoint(out, CONFIG, state, shards=2)
    settings = {"_from_model_config": True, "bos_token_id": 0, "do_sample": True, "eos_token_id": 1}
    settings |= {"temperature": 0.6, "top_p": 0.95, "transformers_version": "4.46.3"}
    checkpoint.write_json(Path(out) / "generation_config.json", settings)
    checkpoint.write_json(Path(out) / "training.json", record)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(HERE))
    parser.add_argument("--seconds", type=float, default=430, help="training time, compilation left out")
    parser.add_argument("--steps", type=int, help="train for this many steps instead")
    parser.add_argument("--batch-tokens", type=int, default=65536)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--eager", action="store_true", help="do not compile")
    args = parser.parse_args()

    begin = time.monotonic()
    say = lambda text: print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)
    pool = multiprocessing.get_context("fork").Pool(args.workers, load_tokenizer)
    stream = batches(pool, args.seed, args.batch_tokens, args.workers)
    held_out, tasks = held_out_batch(args.seed + 1, 10 * args.batch_tokens // 1100, args.batch_tokens)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    model = Model().to(device)
    masters = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16() if device.type == "cuda" else parameter.data
    parameters = dict(model.named_parameters())
    matrices = [m for m in masters.values() if m.dim() > 1]
    vectors = [m for m in masters.values() if m.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.learning_rate, betas=(0.9, 0.95), fused=device.type == "cuda")
    held_out = to_device(held_out, device)
    moe_layers = [layer for layer in model.layers if not layer.dense]
    compute_losses = losses
    if not args.eager:
        torch._dynamo.config.cache_size_limit = 64
        for layer in model.layers:
            layer.compile(dynamic=False)
        compute_losses = torch.compile(losses, dynamic=False)
    say(f"{sum(m.numel() for m in masters.values()) / 1e6:.1f} M parameters, {len(tasks)} held-out problems, {device}")

    step, clock, record, next_report, next_export = 0, None, {}, 0.0, 0.5
    while True:
        progress = 0.0 if clock is None else (time.monotonic() - clock) / args.seconds
        if args.steps:
            progress = step / args.steps
        if progress >= next_report or progress >= 1:
            refresh(parameters, masters)
            accuracy, accepted = evaluate(model, held_out, tasks)
            record = {"seed": args.seed, "steps": step, "tokens": step * args.batch_tokens}
            record |= {"held_out_teacher_forced": accuracy, "mtp_acceptance_teacher_forced": accepted}
            scores = " ".join(f"{task} {value:.3f}" for task, value in accuracy.items())
            say(f"{progress:4.0%} step {step}: {scores}; mtp {accepted:.3f}")
            next_report += 0.05
        if progress >= next_export or progress >= 1:
            export(args.out, masters, model.layers, record)
            next_export += 0.25
        if progress >= 1:
            break
        rate = args.learning_rate * min(1.0, (step + 1) / 200) * max(0.0, 1 - progress)
        for group in optimiser.param_groups:
            group["lr"] = rate

        refresh(parameters, masters)
        ids, positions, learned, starts = to_device(next(stream), device)
        logits, ahead, loads = model(ids, positions, starts)
        loss, mtp_loss = compute_losses(logits, ahead, ids, learned)
        (loss + MTP_LOSS_WEIGHT * mtp_loss).backward()
        balance(moe_layers, loads, BIAS_STEP if progress < 0.9 else 0.0)
        for name, parameter in parameters.items():
            masters[name].grad = parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(masters.values(), 1.0)
        optimiser.step()
        step += 1
        if clock is None and step == 3:
            if device.type == "cuda":
                torch.cuda.synchronize()
            clock = time.monotonic()
        if step % 200 == 0 or step in (1, 2, 3, 10, 50):
            imbalance = max((load.max() / load.float().mean()).item() for load in loads)
            say(f"step {step} loss {loss.item():.4f} mtp {mtp_loss.item():.4f} busiest expert {imbalance:.2f}x")
    say(json.dumps(record))
    pool.terminate()


if __name__ == "__main__":
    main()
