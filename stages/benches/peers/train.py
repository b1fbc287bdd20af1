"""How fast PyTorch does what the stages do: LoRA and full fine-tuning, sampling, and PPO.

    pip install torch transformers peft trl==1.12.0
    python stages/benches/peers/train.py --model 7M --what sft

The last line of stdout is one JSON object. Models are random LLaMAs, rows are random tokens, and every answer has
exactly `--new` tokens: nothing ends one early. Seconds are the median of `--repeat` turns behind one thrown away.

Only PPO needs TRL, of which 1.12 is the last to have it. As in the stages, policy and critic are adapters over frozen
bases, and the reference is the policy without its adapter; `--critic full` trains the critic whole, which TRL does when
left alone. Unlike in the stages, policy, critic and reward model hold a base each, and gradients are not clipped.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import peft
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

# (width, inner, layers, heads, key-value heads, vocabulary)
MODELS = {
    "tiny": (32, 64, 2, 2, 2, 512),
    "260K": (64, 172, 5, 8, 4, 512),
    "7M": (256, 688, 6, 8, 8, 4096),
    "30M": (512, 1376, 8, 8, 8, 4096),
    "350M": (1024, 2816, 24, 16, 16, 32000),
    "1.3B": (2048, 5504, 24, 16, 16, 32000),
    "7B": (4096, 11008, 32, 32, 32, 32000),
}
TIED = {"260K"}
POSITIONS = 512
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
ROWS = {"sft": 8, "full": 8, "decode": 16, "ppo": 64}
TRL = "trl==1.12.0"
WARM_UP = 1
RATE = 3e-4
EPOCHS = 4
GEMM = 2048


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--what", choices=ROWS, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="f32", help="of the models; adapters stay f32")
    parser.add_argument("--rows", type=int, help=f"default: {ROWS}")
    parser.add_argument("--tokens", type=int, default=128, help="of a row of sft and full")
    parser.add_argument("--new", type=int, default=48, help="tokens of an answer of decode and ppo")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of its prompt")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--critic", choices=["lora", "full"], default="lora", help="what ppo trains of the critic")
    args = parser.parse_args()
    args.rows = args.rows or ROWS[args.what]
    return args


# ---------------------------------------------------------------------------------------------------- measuring


def now(args: argparse.Namespace) -> float:
    """The time when the device has done all it was asked to."""
    if args.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def median_seconds(args: argparse.Namespace, work: Callable[[], object]) -> float:
    times = []
    for _ in range(WARM_UP + args.repeat):
        start = now(args)
        work()
        times.append(now(args) - start)
    return statistics.median(times[WARM_UP:])


def memory(name: str) -> int:
    """Bytes of this process: VmRSS is now, VmHWM was the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def gemm(args: argparse.Namespace) -> float:
    """Floating-point operations a second in square products: what this machine could do just now."""
    options = dict(dtype=DTYPES[args.dtype], device=args.device)
    left, right = (torch.randn(GEMM, GEMM, **options) for _ in range(2))
    # A GPU does one sooner than it is asked to.
    products = 50 if args.device == "cuda" else 1

    def multiply() -> None:
        for _ in range(products):
            left @ right

    return products * 2 * GEMM**3 / median_seconds(args, multiply)


# ------------------------------------------------------------------------------------------------------- models


def random_model(args: argparse.Namespace, kind: type, **more: int) -> transformers.PreTrainedModel:
    width, inner, layers, heads, kv_heads, vocabulary = MODELS[args.model]
    config = LlamaConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=vocabulary, max_position_embeddings=POSITIONS,
        tie_word_embeddings=args.model in TIED, bos_token_id=None, eos_token_id=None, pad_token_id=None, **more,
    )
    with torch.device(args.device):
        return kind.from_config(config, dtype=DTYPES[args.dtype])


def lora() -> peft.LoraConfig:
    return peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS)


def random_rows(args: argparse.Namespace, rows: int, tokens: int) -> torch.Tensor:
    return torch.randint(MODELS[args.model][-1], (rows, tokens), generator=torch.Generator().manual_seed(0))


# --------------------------------------------------------------------------------------------------------- work


def train(args: argparse.Namespace) -> dict[str, float]:
    model = random_model(args, AutoModelForCausalLM)
    if args.what == "sft":
        model = peft.get_peft_model(model, lora())
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    rows = random_rows(args, args.rows, args.tokens).to(args.device)

    def step() -> None:
        model(input_ids=rows, labels=rows, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        adam.zero_grad()

    seconds = median_seconds(args, step)
    return {"seconds": seconds, "tokens_per_second": rows.numel() / seconds}


def decode(args: argparse.Namespace) -> dict[str, float]:
    model = random_model(args, AutoModelForCausalLM).eval()
    prompts = random_rows(args, args.rows, args.prompt).to(args.device)

    @torch.inference_mode()
    def sample() -> None:
        answers = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=args.new, max_new_tokens=args.new, use_cache=True,
        )
        assert answers.shape == (args.rows, args.prompt + args.new)

    seconds = median_seconds(args, sample)
    return {"seconds": seconds, "tokens_per_second": args.rows * args.new / seconds}


@dataclass
class Clock(transformers.TrainerCallback):
    """When the parts of TRL's iterations began and ended."""

    args: argparse.Namespace
    generation: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    update_start: float | None = None

    def watch(self, trl_ppo: ModuleType) -> None:
        generate, forward = trl_ppo.batch_generation, trl_ppo.forward

        def timed_generation(*inputs, **more):
            start = now(self.args)
            answers, logits = generate(*inputs, **more)
            self.generation.append(now(self.args) - start)
            assert answers.shape == (self.args.rows, self.args.prompt + self.args.new)
            return answers, logits

        def watched_forward(*inputs, **more):
            # What is scored before is scored without gradients.
            if torch.is_grad_enabled() and self.update_start is None:
                self.update_start = now(self.args)
            return forward(*inputs, **more)

        trl_ppo.batch_generation, trl_ppo.forward = timed_generation, watched_forward

    def on_step_end(self, *_, **__) -> None:
        end = now(self.args)
        self.ends.append(end)
        self.update.append(end - self.update_start)
        self.update_start = None

    def told(self) -> dict[str, float]:
        iterations = [end - start for start, end in zip(self.ends[WARM_UP - 1 :], self.ends[WARM_UP:])]
        generation, update = self.generation[WARM_UP:], self.update[WARM_UP:]
        parts = {"seconds": iterations, "seconds_generation": generation, "seconds_update": update}
        return {name: statistics.median(times) for name, times in parts.items()}


def tokenizer(args: argparse.Namespace) -> transformers.PreTrainedTokenizerFast:
    """Nothing but a padding and an end token, beyond the vocabulary: TRL takes a sampled padding token for the end."""
    vocabulary = MODELS[args.model][-1]
    words = WordLevel({"[PAD]": vocabulary, "[EOS]": vocabulary + 1}, unk_token="[PAD]")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="[PAD]", eos_token="[EOS]")


def ppo(args: argparse.Namespace, trl_ppo: ModuleType) -> dict[str, float]:
    policy = random_model(args, AutoModelForCausalLM)
    critic, reward = (random_model(args, AutoModelForSequenceClassification, num_labels=1) for _ in range(2))
    if args.critic == "lora":
        # In place, because TRL asks the critic for its parts.
        peft.inject_adapter_in_model(lora(), critic)
        for name, parameter in critic.named_parameters():
            is_adapter = "lora_" in name
            parameter.requires_grad = is_adapter or name == "score.weight"
            if is_adapter:
                parameter.data = parameter.data.float()
    episodes = args.rows * (WARM_UP + args.repeat)
    prompts = [{"input_ids": row} for row in random_rows(args, episodes, args.prompt).tolist()]
    clock = Clock(args)
    clock.watch(trl_ppo)
    with tempfile.TemporaryDirectory() as place:
        config = trl_ppo.PPOConfig(
            output_dir=place, use_cpu=args.device == "cpu", bf16=False, fp16=False, gradient_checkpointing=False,
            per_device_train_batch_size=args.rows, gradient_accumulation_steps=1, num_mini_batches=1,
            local_rollout_forward_batch_size=args.rows, num_ppo_epochs=EPOCHS, total_episodes=episodes,
            response_length=args.new, temperature=1.0, kl_coef=0.05, learning_rate=RATE, seed=0,
            stop_token=None, missing_eos_penalty=None, num_sample_generations=0,
            eval_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
        )
        trainer = trl_ppo.PPOTrainer(
            args=config, processing_class=tokenizer(args), model=policy, ref_model=None, reward_model=reward,
            value_model=critic, train_dataset=prompts, callbacks=[clock], peft_config=lora(),
        )
        trainer.train()
    told = clock.told()
    return told | {"tokens_per_second": args.rows * args.new / told["seconds"]}


def version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def main() -> None:
    args = arguments()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if args.threads:
        torch.set_num_threads(args.threads)
    trl_ppo = None
    if args.what == "ppo":
        os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
        try:
            from trl.experimental.ppo import ppo_trainer as trl_ppo
        except ImportError as error:
            sys.exit(f"TRL's PPOTrainer is not here ({error}); install {TRL}")
    start = memory("VmRSS")
    torch.manual_seed(0)
    # TRL tells what it does on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        match args.what:
            case "decode":
                figures = decode(args)
            case "ppo":
                figures = ppo(args, trl_ppo)
            case _:
                figures = train(args)
    if args.device == "cuda":
        figures["peak_bytes"] = torch.cuda.max_memory_allocated()
    else:
        most = memory("VmHWM")
        figures |= {"peak_bytes": most, "peak_bytes_above_start": most - start}
    figures["flops_per_second_gemm"] = gemm(args)
    versions = {package: version(package) for package in ["torch", "transformers", "peft", "trl"]}
    print(json.dumps(vars(args) | figures | {"threads": torch.get_num_threads(), "versions": versions}))


if __name__ == "__main__":
    main()
