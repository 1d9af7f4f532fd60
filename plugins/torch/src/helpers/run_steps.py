def run_steps(cell, x, mask=None, state=None, reverse=False, zero_masked=False):
    """Runs a cell over x (batch, time, features): all outputs, the last state.

    A step where the mask is False keeps the state and repeats the output before it,
    or gives zeros with `zero_masked`.
    """
    output = x.new_zeros(x.shape[0], cell.hidden_size)
    if state is None:
        state = (output, output) if "LSTM" in type(cell).__name__ else (output,)
    outputs = []
    steps = range(x.shape[1])
    for t in reversed(steps) if reverse else steps:
        new = cell(x[:, t], state if len(state) > 1 else state[0])
        new = new if isinstance(new, tuple) else (new,)
        if mask is None:
            state, output = new, new[0]
        else:
            valid = mask[:, t, None]
            kept = torch.zeros_like(output) if zero_masked else output
            output = torch.where(valid, new[0], kept)
            state = tuple(torch.where(valid, n, s) for n, s in zip(new, state))
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return torch.stack(outputs, dim=1), state
