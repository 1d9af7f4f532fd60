"""What converted packages are good for beyond predicting: training goes on, and PyTorch's own exporters take them.

    torch/bin/python torch_train.py BUNDLES...          directories below which packages (`*_torch`) are looked for

For each package: some steps of training (the loss must fall, statistics must move, what is frozen must stay), then
torch.jit.trace, torch.export and torch.jit.script. Prints a line for each and the totals; exit code 1 if a loss did not
fall. A model without parameters is only exported.
"""
import collections
import glob
import os
import sys
import warnings

import torch

import run_torch

STEPS = 40
warnings.filterwarnings("ignore")


def example(model, module):
    """Inputs of the shapes that the class's docstring tells; 8 and 6 for free sizes."""
    feeds = []
    for line in (type(model).__doc__ or "").splitlines():
        line = line.strip()
        if not line.startswith("Input "):
            continue
        shape, dtype = line.rsplit(": ", 1)[1].rstrip(".").rsplit(", ", 1)
        sizes = [part.strip() for part in shape.strip("()").split(",") if part.strip()]
        sizes = [int(size) if size.isdigit() else (8 if size == "batch" else 6) for size in sizes]
        kind = getattr(torch, dtype)
        feeds.append(torch.rand(sizes, dtype=kind) if kind.is_floating_point else torch.randint(0, 2, sizes).to(kind))
    return tuple(feeds)


def floats(results):
    results = results if isinstance(results, tuple) else (results,)
    return [result for result in results if result.is_floating_point()]


def train(model, feeds):
    """"fell", "no parameters", or what went wrong."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    with torch.no_grad():
        outputs = floats(model(*feeds))
    if not trained or not outputs:
        return "no parameters"
    # What the model gives is where a disturbed model is to come back to: a target that can be reached.
    targets = [output.detach() for output in outputs]
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trained:
            spread = parameter.std().nan_to_num() if parameter.numel() > 1 else parameter.new_zeros(())
            parameter += torch.randn_like(parameter) * (0.3 * spread + 0.05)
    optimizer = torch.optim.Adam(trained, lr=1e-3)

    def loss():
        # The same draws every time, so that a step is compared with the step before and not with luck.
        torch.manual_seed(2)
        return sum(((output - target) ** 2).mean() for output, target in zip(floats(model(*feeds)), targets))

    model.train()
    begin = loss().item()
    for _ in range(STEPS):
        optimizer.zero_grad()
        now = loss()
        if not now.requires_grad:
            return "no gradient"
        now.backward()
        optimizer.step()
    end = loss().item()
    if any(not torch.equal(value, dict(model.named_parameters())[name]) for name, value in frozen.items()):
        return "what is frozen moved"
    return "fell" if end < begin else f"did not fall: {begin:.4g} to {end:.4g}"


def attempt(work):
    try:
        work()
        return "yes"
    except Exception as error:
        return type(error).__name__


def main(folders):
    totals = collections.Counter()
    bad = 0
    found = sorted({os.path.realpath(p) for folder in folders
                    for p in glob.glob(os.path.join(folder, "**", "*_torch"), recursive=True)})
    for path in found:
        module = run_torch.package(path)
        model = module.load()
        feeds = example(model, module)
        row = {}
        try:
            row["train"] = train(model, feeds)
        except Exception as error:
            row["train"] = f"{type(error).__name__}: {error}"[:150]
        model = module.load()
        row["trace"] = attempt(lambda: torch.jit.trace(model, feeds))
        row["export"] = attempt(lambda: torch.export.export(model, feeds))
        row["script"] = attempt(lambda: torch.jit.script(model))
        for what, result in row.items():
            totals[what, result if result in ("fell", "no parameters", "no gradient", "yes") else "no"] += 1
        bad += row["train"] not in ("fell", "no parameters", "no gradient")
        print(os.path.basename(path), row, flush=True)
    for (what, result), count in sorted(totals.items()):
        print(f"{what}: {count} {result}")
    return 1 if bad or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
