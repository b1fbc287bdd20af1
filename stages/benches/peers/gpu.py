"""Many measurements of `train.py` in one process, for `benches/gpu`: decoding, a LoRA step and a PPO iteration by model and
precision, as long as there is time. One JSON object a line, whatever happens.

    python3 gpu.py --models 350M,1.3B --device cuda --seconds 70
"""

import argparse
import contextlib
import gc
import json
import os
import sys
import time

START = time.monotonic()


def tell(**line: object) -> None:
    print(json.dumps(line), file=OUT, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--seconds", type=float, required=True, help="for all of it, with the imports")
    parser.add_argument("--decode", default="16,1,64", help="numbers of rows")
    for name, default in {"new": 32, "prompt": 16, "rows": 8, "tokens": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"rows": 64, "prompt": 128, "new": 48, "epochs": 4}.items():
        parser.add_argument(f"--ppo-{name}", type=int, default=default)
    return parser.parse_args()


def work(args: argparse.Namespace) -> list[dict[str, object]]:
    """What to measure, the most telling first: half precision before f32, and PPO, which takes longest, in the end."""
    models = args.models.split(",")
    kinds = [*(("decode", int(rows)) for rows in args.decode.split(",")), ("SFT", args.rows)]
    quick = [
        dict(model=model, dtype=dtype, what=what, rows=rows)
        for dtype in ["bf16", "f32"]
        for model in models
        for what, rows in kinds
    ]
    slow = [dict(model=model, dtype=dtype, what="PPO", rows=args.ppo_rows) for model in models for dtype in ["bf16", "f32"]]
    return quick + slow


def measure(args: argparse.Namespace, item: dict[str, object], train, trl_ppo) -> dict[str, float]:
    is_ppo = item["what"] == "PPO"
    namespace = argparse.Namespace(
        model=item["model"], dtype=item["dtype"], what={"SFT": "sft", "PPO": "ppo"}.get(item["what"], item["what"]),
        device=args.device, rows=item["rows"], tokens=args.tokens, new=args.ppo_new if is_ppo else args.new,
        prompt=args.ppo_prompt if is_ppo else args.prompt, repeat=1 if is_ppo else 2, threads=None, critic="lora",
    )
    if is_ppo:
        train.EPOCHS = args.ppo_epochs
        parts = trl_ppo.batch_generation, trl_ppo.forward
        try:
            return train.ppo(namespace, trl_ppo)
        finally:
            trl_ppo.batch_generation, trl_ppo.forward = parts
    return train.decode(namespace) if item["what"] == "decode" else train.train(namespace)


def main() -> None:
    args = arguments()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    try:
        import torch
        import train
    except ImportError as error:
        return tell(what="PyTorch", missing=f"it is not here, or transformers or peft is not: {error}")
    if args.device == "cuda" and not torch.cuda.is_available():
        return tell(what="PyTorch", missing="it finds no CUDA device")
    # f32 is f32 here, as it is there.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    versions = {package: train.version(package) for package in ["torch", "transformers", "peft", "trl"]}
    card = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    tell(what="PyTorch", said=f"{card}; {json.dumps(versions)}; TF32 is off")
    trl_ppo = None
    try:
        from trl.experimental.ppo import ppo_trainer as trl_ppo
    except ImportError as error:
        tell(what="TRL", missing=f"its PPOTrainer is not here ({error}); install {train.TRL}")
    for item in work(args):
        left = args.seconds - (time.monotonic() - START)
        if item["what"] == "PPO" and trl_ppo is None:
            continue
        if left < 2.0:
            tell(**item, missing="its time is over")
            continue
        torch.manual_seed(0)
        try:
            tell(**item, **measure(args, item, train, trl_ppo))
        except Exception as error:  # out of memory, or a version that differs: the others go on
            tell(**item, failed=f"{type(error).__name__}: {error}")
        gc.collect()
        if args.device == "cuda":
            with contextlib.suppress(RuntimeError):
                torch.cuda.empty_cache()


if __name__ == "__main__":
    # Libraries tell what they do on stdout.
    OUT, sys.stdout = sys.stdout, sys.stderr
    main()
