"""Where will the ball be next? One frame against many, positions and video (G1, G2)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

LSTM = Experiment(
    title="next position of a ball, LSTM on all frames so far",
    data="bouncing_ball",
    model="lstm",
    options=("width=64",),
    optimisation=Optimisation(learning_rate=5e-3, weight_decay=1e-4, clip=1.0, ema=0.99),
    epochs=40,
    batch_size=64,
    evaluations=5,
    score="rmse",
    baseline="straight_line",
)


def window(frames: int) -> Experiment:
    """The same with dense layers on so many frames."""
    told = "one frame" if frames == 1 else f"the last {frames} frames"
    return dataclasses.replace(
        LSTM,
        title=f"next position of a ball, dense layers on {told}",
        model="window",
        options=(f"window={frames}", "widths=(64, 64)"),
    )


EXPERIMENTS = {
    "bouncing_ball": LSTM,
    "bouncing_ball_window1": window(1),
    "bouncing_ball_window2": window(2),
    "bouncing_ball_window8": window(8),
    "bouncing_ball_video": dataclasses.replace(
        LSTM,
        title="next position of a ball from a video, convolutional LSTM",
        data="bouncing_ball/video",
        model="conv_lstm",
        options=("widths=(12,)",),
        epochs=6,
        batch_size=32,
        baseline="",
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "bouncing_ball", *sys.argv[1:]]))
