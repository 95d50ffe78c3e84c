"""`zoo sample`: text that a trained network goes on with."""

import functools

import jax
import numpy as np

from zoo import sampling
from zoo.errors import UserError
from zoo_experiments.verbs.checks import require_at_least, require_finite
from zoo_experiments.verbs.runs import Run


def continue_text(run: Run, prompt: str, *, characters: int, temperature: float, seed: int) -> str:
    """The prompt and what a network trained on the next character adds to it.

    Args:
        run: a run on symbols, with a class per step that is the next symbol.
        prompt: text of the vocabulary.
        characters: how many are added.
        temperature: see `zoo.sampling.draw`.
        seed: of the draws.

    Raises:
        UserError: the run is on something else, its model carries no state, or the prompt is empty or has characters
            that the vocabulary has not.
    """
    require_at_least("characters", characters, 1)
    require_finite("temperature", temperature)
    made = run.setup()
    if not run.vocabulary or run.class_names != run.vocabulary or not run.outputs.steps:
        raise UserError(f"{run.folder} was not trained on the next symbol of a text; zoo train text does that.")
    if "return_carry" not in type(made.model).__call__.__annotations__:
        raise UserError(f"{run.experiment.model} carries no state from step to step; rnn, lstm and gru do.")
    if not prompt:
        raise UserError("A prompt of at least one character is needed.")
    known = {symbol: number for number, symbol in enumerate(run.vocabulary)}
    unknown = sorted(set(prompt) - set(known))
    if unknown:
        raise UserError(f"The prompt has characters that the vocabulary has not: {' '.join(map(repr, unknown))}.")
    numbers = np.array([[known[character] for character in prompt]], np.int32)
    draw = functools.partial(sampling.continued, made.model, steps=characters)
    variables = run.weights(made).state.averaged
    symbols = jax.jit(draw)(variables, numbers, key=jax.random.key(seed), temperature=temperature)
    return prompt + "".join(run.vocabulary[symbol] for symbol in np.asarray(symbols)[0])
